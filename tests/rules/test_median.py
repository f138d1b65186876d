"""Median: golden values, even and odd, and the variance it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.rules import golden


def test_golden_values():
    np.testing.assert_allclose(
        jax.jit(jd.rules.median())(golden.ROWS), golden.MEDIAN, rtol=1e-5
    )


@pytest.mark.parametrize("num_workers", range(1, 10))
def test_even_numbers_average_the_two_middles(num_workers):
    rows = np.random.default_rng(num_workers).standard_normal((num_workers, 20))
    rows = rows.astype(np.float32)
    np.testing.assert_allclose(
        jax.jit(jd.rules.median())(rows), np.median(rows, axis=0), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("num_bad", range(5))
def test_what_is_not_finite_is_left_out(num_bad):
    rows = np.random.default_rng(0).standard_normal((9, 20)).astype(np.float32)
    expected = np.median(rows[num_bad:], axis=0)
    rows[:num_bad] = [[np.nan], [np.inf], [-np.inf], [np.nan]][:num_bad] or rows[:0]
    np.testing.assert_allclose(
        jax.jit(jd.rules.median())(rows), expected, rtol=1e-5, atol=1e-7
    )


def test_half_the_workers_are_too_many():
    rows = jnp.array([[1.0], [2.0], [jnp.nan], [jnp.inf]])
    np.testing.assert_array_equal(jax.jit(jd.rules.median())(rows), [0.0])


def test_asymptotic_variance_of_gaussians():
    """W times the variance of the median of W standard normals tends to pi / 2."""
    rows = np.random.default_rng(0).standard_normal((51, 40_000)).astype(np.float32)
    assert 51 * float(jax.jit(jd.rules.median())(rows).var()) == pytest.approx(
        np.pi / 2, rel=0.03
    )


@pytest.mark.parametrize("num_bad", range(4))
def test_the_lower_middle_is_somebodys(num_bad):
    rows = np.random.default_rng(0).standard_normal((8, 20)).astype(np.float32)
    expected = np.sort(rows[num_bad:], axis=0)[(7 - num_bad) // 2]
    rows[:num_bad] = np.nan
    np.testing.assert_array_equal(jax.jit(jd.rules.median("lower"))(rows), expected)


def test_there_are_two_middles():
    with pytest.raises(ValueError, match="`middle` must be one of 'mean', 'lower'"):
        jd.rules.median("upper")
