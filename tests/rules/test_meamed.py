"""MeaMed: around the median, ties, and values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles
from tests.rules import golden


def test_leaving_out_nobody_is_the_mean():
    np.testing.assert_allclose(
        jax.jit(jd.rules.meamed(0))(golden.ROWS),
        jax.jit(jd.rules.mean())(golden.ROWS),
        rtol=1e-6,
    )


def test_a_crowd_of_liars_is_left_out():
    rows = golden.ROWS.copy()
    rows[8:] = 1e6
    np.testing.assert_allclose(
        jax.jit(jd.rules.meamed(3))(rows),
        np.mean(rows[:8], axis=0),
        rtol=1e-5,
        atol=1e-6,
    )


def test_ties_go_to_the_smaller():
    """Of -1 and 1 around 0, which are equally near, -1 is kept."""
    rows = jnp.array([[0.0], [1.0], [-1.0], [0.0], [0.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.meamed(1))(rows), [-0.25])
    np.testing.assert_array_equal(jax.jit(jd.rules.meamed(1))(rows[::-1]), [-0.25])


@pytest.mark.parametrize("num_bad", range(3))
def test_what_is_not_finite_is_left_out_first(num_bad):
    rows = np.random.default_rng(0).standard_normal((9, 20)).astype(np.float32)
    expected = oracles.meamed(2 - num_bad)(rows[num_bad:].astype(np.float64))
    rows[:num_bad] = [[np.nan], [-np.inf]][:num_bad] or rows[:0]
    np.testing.assert_allclose(
        jax.jit(jd.rules.meamed(2))(rows), expected, rtol=1e-5, atol=1e-6
    )


def test_more_than_tolerated_give_zero():
    rows = jnp.array([[1.0], [jnp.nan], [jnp.inf], [2.0], [3.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.meamed(1))(rows), [0.0])
