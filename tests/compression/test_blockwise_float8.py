"""Block-wise float8: no overflow, and the relative error of its mantissa."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

DTYPES = pytest.mark.parametrize(
    ("dtype", "worst"), [(jnp.float8_e4m3fn, 1 / 17), (jnp.float8_e5m2, 1 / 9)]
)


@DTYPES
def test_relative_error_of_each_element(dtype, worst):
    leaf = jnp.geomspace(1e-3, 1, 1000)
    seen, _ = harness.roundtrip(jd.compression.blockwise_float8(dtype, None), leaf)
    error = np.abs(np.asarray(seen / leaf, np.float64) - 1)
    assert 0.95 * worst < error.max() < worst * (1 + 1e-5)


@DTYPES
def test_the_bound_is_attained(dtype, worst):
    """By elements half way between a power of two and the next number."""
    mantissa = 1 + float(jnp.finfo(dtype).eps) / 2
    leaf = jnp.full(200, mantissa).at[0].set(float(jnp.finfo(dtype).max) / 64)
    quantizer = jd.compression.blockwise_float8(dtype, None)
    seen, _ = harness.roundtrip(quantizer, leaf)
    lost = float(jnp.sum((seen - leaf)[1:] ** 2) / jnp.sum(leaf[1:] ** 2))
    assert lost == pytest.approx(worst**2, rel=1e-4)
    assert quantizer.contract.variance(200) == pytest.approx(worst**2, rel=1e-4)


@DTYPES
@pytest.mark.parametrize("scale", [3.4e38, 1e-36])
def test_the_ends_of_the_range_survive(dtype, worst, scale):
    leaf = jnp.array([scale, -scale, scale / 2])
    seen, _ = harness.roundtrip(jd.compression.blockwise_float8(dtype), leaf)
    np.testing.assert_allclose(seen, leaf, rtol=worst)


def test_outside_the_range_of_float8_nothing_changes():
    """The cast without a scale loses all of these."""
    leaf = jnp.array([1e6, 1e-6, 1e-9, -3e-9])
    seen, _ = harness.roundtrip(jd.compression.blockwise_float8(block_size=2), leaf)
    np.testing.assert_allclose(seen[0], 1e6, rtol=1e-6)
    np.testing.assert_allclose(seen[2:], leaf[2:], rtol=1 / 16)


def test_one_infinity_spoils_only_its_block():
    leaf = jnp.ones(8).at[1].set(jnp.inf)
    seen, _ = harness.roundtrip(jd.compression.blockwise_float8(block_size=4), leaf)
    np.testing.assert_array_equal(jnp.isfinite(seen), [False] * 4 + [True] * 4)


def test_dtypes_are_named():
    with pytest.raises(ValueError, match="`dtype` must be one of 'float8_e4m3fn'"):
        jd.compression.blockwise_float8(jnp.float16)
