"""TernGrad: three levels, unbiased, 1.6 bits."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics

VECTOR = np.random.default_rng(0).standard_normal(64)


def omega(vector):
    """Return the paper's variance: max |x| times sum |x| over sum x^2, minus 1."""
    magnitude = np.abs(vector)
    return magnitude.max() * magnitude.sum() / (vector**2).sum() - 1


def test_variance_of_the_reference_vector():
    seen = statistics.draws(
        jd.compression.terngrad(), jnp.asarray(VECTOR, jnp.float32), 20_000
    )
    measured = ((seen - VECTOR) ** 2).sum(axis=1).mean() / (VECTOR**2).sum()
    assert omega(VECTOR) == pytest.approx(1.0751, abs=1e-4)
    assert measured == pytest.approx(1.0751, rel=0.02)


@pytest.mark.parametrize("size", [1, 2, 64, 1000])
def test_the_bound_is_attained(size):
    worst = np.r_[1 + np.sqrt(size), np.ones(size - 1)]
    bound = jd.compression.terngrad(None).contract.variance(size)
    assert bound == pytest.approx((np.sqrt(size) - 1) / 2)
    assert omega(worst) == pytest.approx(bound)


def test_is_qsgd_with_one_level_of_the_largest():
    leaf = jnp.asarray(np.random.default_rng(1).standard_normal((7, 30)), jnp.float32)
    for key in range(5):
        seen, _ = harness.roundtrip(jd.compression.terngrad(32), leaf, key, blocks=2)
        same, _ = harness.roundtrip(
            jd.compression.qsgd(2, 32, "max"), leaf, key, blocks=2
        )
        np.testing.assert_array_equal(seen, same)


def test_takes_only_three_values():
    seen, _ = harness.roundtrip(
        jd.compression.terngrad(), jnp.asarray(VECTOR, jnp.float32), 0
    )
    largest = np.float32(np.abs(VECTOR).max())
    assert set(np.unique(seen)) == {-largest, 0, largest}


def test_five_elements_take_a_byte():
    assert (
        jd.payload_nbytes(jd.compression.terngrad(2**16), jnp.zeros(10**6))
        == 200_000 + 16 * 4
    )


def test_one_nan_spoils_only_its_block():
    leaf = jnp.ones(40).at[11].set(jnp.nan)
    seen, _ = harness.roundtrip(jd.compression.terngrad(8), leaf, 0)
    np.testing.assert_array_equal(seen[:8], 1)
    np.testing.assert_array_equal(jnp.isfinite(seen[8:16]), False)
    np.testing.assert_array_equal(seen[16:], 1)
