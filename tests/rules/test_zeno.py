"""Zeno: the score, a majority of liars, and arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

REFERENCE = jnp.array([1.0, 0.0])


def test_descent_counts_for_a_worker_and_length_against_it():
    """Scores: 0.2 - 0.04, 0.1 - 0.02, 4 - 16, -0.1 - 0.01."""
    rows = jnp.array([[2.0, 0.0], [1.0, 1.0], [40.0, 0.0], [-1.0, 0.0]])
    got = jax.jit(jd.rules.zeno(2, 0.1, 0.01))(rows, anchor=REFERENCE)
    np.testing.assert_allclose(got, [1.5, 0.5], rtol=1e-6)
    one = jax.jit(jd.rules.zeno(3, 0.1, 0.0))(rows, anchor=REFERENCE)
    np.testing.assert_allclose(one, [40.0, 0.0], rtol=1e-6)


def test_it_is_the_descent_of_a_linear_loss():
    """To first order is exact where there is no second."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9, 4)).astype(np.float32)
    slope, rate, penalty = rng.standard_normal(4).astype(np.float32), 0.3, 0.1
    scores = [
        slope @ np.zeros(4) - slope @ (-rate * row) - penalty * row @ row
        for row in rows
    ]
    best = np.argsort(scores)[-6:]
    got = jax.jit(jd.rules.zeno(3, rate, penalty))(rows, anchor=slope)
    np.testing.assert_allclose(got, rows[best].mean(axis=0), rtol=1e-5)


def test_a_majority_may_lie():
    rows = jnp.array([[1.0, 0.1], [-5.0, 0.0], [-5.0, 1.0], [-4.0, 0.0]])
    got = jax.jit(jd.rules.zeno(3, 1.0, 0.01))(rows, anchor=REFERENCE)
    np.testing.assert_allclose(got, rows[0], rtol=1e-6)


def test_ties_go_to_the_lowest_index():
    rows = jnp.array([[0.0, 2.0], [0.0, -2.0], [0.0, 2.0]])
    got = jax.jit(jd.rules.zeno(2, 1.0, 0.1))(rows, anchor=REFERENCE)
    np.testing.assert_array_equal(got, [0.0, 2.0])


def test_a_reference_that_is_not_finite_judges_nobody():
    rows = jnp.ones((3, 2))
    bad = REFERENCE.at[1].set(jnp.nan)
    np.testing.assert_array_equal(
        jax.jit(jd.rules.zeno(1, 1.0, 0.1))(rows, anchor=bad), [0, 0]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 1.0, 1.0), "`num_byzantine` must be .* got -1"),
        ((1, 0.0, 1.0), "`learning_rate` must lie .* got 0.0"),
        ((1, 1.0, -1.0), "`penalty` must lie .* got -1.0"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.rules.zeno(*arguments)


def test_somebody_is_left():
    with pytest.raises(ValueError, match=r"`num_byzantine` must lie in \[0, 2\]"):
        jd.rules.zeno(3, 1.0, 0.1)(jnp.ones((3, 2)), anchor=REFERENCE)
