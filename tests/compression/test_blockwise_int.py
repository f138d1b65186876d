"""Block-wise integers: to nearest, never further than half a step."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def by_hand(vector, bits):
    """Return the quantized vector in float64."""
    step = np.abs(vector).max() / (2 ** (bits - 1) - 1)
    return np.rint(vector / step) * step


@pytest.mark.parametrize("bits", [8, 4])
def test_agrees_with_numpy(bits):
    vector = np.random.default_rng(0).standard_normal(64)
    leaf = jnp.asarray(vector, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.blockwise_int(bits), leaf)
    np.testing.assert_allclose(seen, by_hand(vector, bits), atol=1e-6)


@pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("size", [2, 61, 256])
def test_the_bound_is_attained(bits, levels, size):
    """All elements but one lie half a step from zero (and a hair, to break the tie)."""
    half_step = 0.4999999
    leaf = np.full(size, half_step, np.float32)
    leaf[0] = levels
    quantizer = jd.compression.blockwise_int(bits, None)
    seen, _ = harness.roundtrip(quantizer, leaf)
    exact = np.asarray(leaf, np.float64)
    lost = np.sum((np.asarray(seen) - exact) ** 2) / np.sum(exact**2)
    assert lost == pytest.approx(quantizer.contract.variance(size), rel=1e-5)


def test_every_leaf_size_contracts():
    assert jd.compression.blockwise_int(4, None).contract.contraction(10**9) > 0
    jd.compression.error_feedback(jd.compression.blockwise_int(4, None))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("scale", [3.4e38, 1e-36])
def test_the_ends_of_the_range_survive(bits, scale):
    leaf = jnp.array([scale, -scale, scale / 7 * 3])
    seen, _ = harness.roundtrip(jd.compression.blockwise_int(bits), leaf)
    np.testing.assert_allclose(seen, leaf, rtol=0.01)


def test_a_large_block_does_not_coarsen_a_small_one():
    leaf = jnp.array([1000.0, 1.0, 0.01, 0.005])
    seen, _ = harness.roundtrip(jd.compression.blockwise_int(8, block_size=2), leaf)
    np.testing.assert_allclose(seen[2:], leaf[2:], rtol=0.01)


def test_one_nan_spoils_only_its_block():
    leaf = jnp.ones(8).at[1].set(jnp.nan)
    seen, _ = harness.roundtrip(jd.compression.blockwise_int(block_size=4), leaf)
    np.testing.assert_array_equal(jnp.isfinite(seen), [False] * 4 + [True] * 4)


def test_bits_are_eight_or_four():
    with pytest.raises(ValueError, match="`bits` must be one of 8, 4, got 5"):
        jd.compression.blockwise_int(5)
