"""Natural compression: powers of two, unbiased, omega of exactly 1/8."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics

VECTOR = np.random.default_rng(0).standard_normal(64)


def exact_variance(vector):
    """Return omega from the distances to the two powers around each magnitude."""
    magnitude = np.abs(vector)
    below = 2 ** np.floor(np.log2(magnitude))
    return ((magnitude - below) * (2 * below - magnitude)).sum() / (vector**2).sum()


def measured_variance(vector):
    leaf = jnp.asarray(vector, jnp.float32)
    seen = statistics.draws(jd.compression.natural(), leaf, 20_000)
    return ((seen - vector) ** 2).sum(axis=1).mean() / (vector**2).sum()


def test_variance_of_the_reference_vector():
    exact = exact_variance(VECTOR)
    assert exact < 1 / 8
    assert measured_variance(VECTOR) == pytest.approx(exact, rel=0.02)


def test_the_bound_is_attained_at_four_thirds():
    worst = np.float32(4 / 3) * 2.0 ** np.arange(-20, 20)
    assert exact_variance(worst) == pytest.approx(1 / 8)
    assert measured_variance(worst) == pytest.approx(1 / 8, rel=0.02)


def test_zeros_and_powers_of_two_are_exact():
    leaf = jnp.array([0.0, 1.0, -2.0, 2.0**-126, -(2.0**127), 0.125])
    seen = statistics.draws(jd.compression.natural(), leaf, 100)
    np.testing.assert_array_equal(seen, np.broadcast_to(leaf, (100, 6)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(jnp.float32, 3.3e38), (jnp.bfloat16, -3.3e38), (jnp.float16, 65000.0)],
)
def test_the_top_of_the_range_is_unbiased_and_finite(dtype, value):
    leaf = jnp.full(100_000, value, dtype)
    seen, _ = harness.roundtrip(jd.compression.natural(), leaf, 0)
    exact = float(leaf[0])
    mean = np.asarray(seen, np.float64).mean()
    assert mean == pytest.approx(exact, rel=0.01)
    assert float(jnp.finfo(dtype).max) in np.abs(np.asarray(seen, np.float64))


def test_subnormal_numbers_become_zero_or_the_least_normal_one():
    exact = 2.0**-126 / 4
    seen, _ = harness.roundtrip(jd.compression.natural(), jnp.full(100_000, exact), 0)
    seen = np.asarray(seen, np.float64)
    assert set(seen) == {0.0, 2.0**-126}
    assert seen.mean() == pytest.approx(exact, rel=0.05)


def test_only_what_is_not_finite_comes_back_as_nan():
    leaf = jnp.array([1.0, jnp.nan, -0.0, jnp.inf, -jnp.inf, 2.0])
    seen, _ = harness.roundtrip(jd.compression.natural(), leaf, 0)
    np.testing.assert_array_equal(seen, [1, jnp.nan, 0, jnp.nan, jnp.nan, 2])


def test_nine_bits_per_element():
    assert jd.payload_nbytes(jd.compression.natural(), jnp.zeros(800)) == 900
