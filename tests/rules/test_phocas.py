"""Phocas: around the trimmed mean, ties, and values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles
from tests.rules import golden


def test_leaving_out_nobody_is_the_mean():
    np.testing.assert_allclose(
        jax.jit(jd.rules.phocas(0))(golden.ROWS),
        jax.jit(jd.rules.mean())(golden.ROWS),
        rtol=1e-6,
    )


def test_the_centre_is_no_median():
    """The trimmed mean is 4, to which 0 is nearer than 9; the median is 5."""
    rows = jnp.array([[0.0], [2.0], [5.0], [5.0], [9.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.phocas(1))(rows), [3.0])
    np.testing.assert_array_equal(jax.jit(jd.rules.meamed(1))(rows), [5.25])


def test_ties_go_to_the_smaller():
    rows = jnp.array([[0.0], [1.0], [-1.0], [0.0], [0.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.phocas(1))(rows), [-0.25])


@pytest.mark.parametrize("num_bad", range(3))
def test_what_is_not_finite_is_left_out_first(num_bad):
    rows = np.random.default_rng(0).standard_normal((9, 20)).astype(np.float32)
    expected = oracles.phocas(2 - num_bad)(rows[num_bad:].astype(np.float64))
    rows[:num_bad] = [[np.nan], [-np.inf]][:num_bad] or rows[:0]
    np.testing.assert_allclose(
        jax.jit(jd.rules.phocas(2))(rows), expected, rtol=1e-5, atol=1e-6
    )


def test_more_than_tolerated_give_zero():
    rows = jnp.array([[1.0], [jnp.nan], [jnp.inf], [2.0], [3.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.phocas(1))(rows), [0.0])
