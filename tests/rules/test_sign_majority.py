"""Sign majority: the vote, who abstains, and that size buys nothing."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd


def test_the_majority_decides_and_ties_are_zero():
    rows = jnp.array([[1.0, 1.0, 0.0], [2.0, -5.0, 0.0], [-9.0, 0.0, -0.1]])
    np.testing.assert_array_equal(jax.jit(jd.rules.sign_majority())(rows), [1, 0, -1])


def test_what_is_not_finite_does_not_vote():
    rows = jnp.array([[jnp.inf, jnp.nan], [-1.0, 2.0], [-1.0, -2.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.sign_majority())(rows), [-1, 0])


def test_half_the_workers_are_too_many():
    rows = jnp.array([[jnp.inf], [jnp.nan], [1.0], [1.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.sign_majority())(rows), [0])


def test_a_minority_cannot_turn_what_all_others_agree_on():
    rows = jnp.ones((9, 5)).at[:4].set(-1e9)
    np.testing.assert_array_equal(jax.jit(jd.rules.sign_majority())(rows), np.ones(5))
