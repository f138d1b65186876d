"""Centered clipping: from the last result, and no farther than allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.rules import golden

ROWS = golden.ROWS
START = ROWS[0]


def clipped(rows, start, radius, iterations):
    """Return what the paper does, in float64."""
    point = np.asarray(start, np.float64)
    for _ in range(iterations):
        away = rows - point
        norms = np.linalg.norm(away, axis=1, keepdims=True)
        point = point + (away * radius / np.maximum(norms, radius)).mean(axis=0)
    return point


@pytest.mark.parametrize("iterations", [1, 5])
def test_starts_at_the_anchor(iterations):
    got = jax.jit(jd.rules.centered_clipping(2.0, iterations))(ROWS, anchor=START)
    expected = clipped(ROWS, START, 2.0, iterations)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_other_implementation():
    got = jax.jit(jd.rules.centered_clipping(2.0, 5))(ROWS)
    np.testing.assert_allclose(got, golden.CENTERED_CLIPPING, rtol=1e-5)


def test_a_large_radius_is_the_mean():
    got = jax.jit(jd.rules.centered_clipping(1e6))(ROWS)
    np.testing.assert_allclose(got, golden.MEAN, rtol=1e-5)


@pytest.mark.parametrize("away", [1e2, 1e6, 1e12, 1e18])
def test_one_worker_moves_it_by_a_share_of_the_radius(away):
    rule = jax.jit(jd.rules.centered_clipping(1.0, 3))
    attacked = ROWS.copy()
    attacked[4] = away * np.array([1, -1, 1, -1, 1])
    honest = np.delete(ROWS, 4, axis=0)
    without = np.concatenate([honest[:4], START[None], honest[4:]])
    moved = jax.jit(rule)(attacked, anchor=START) - jax.jit(rule)(without, anchor=START)
    assert np.linalg.norm(moved) <= 3 / len(ROWS) * (1 + 1e-4)


def test_whoever_is_not_finite_moves_nothing():
    attacked = ROWS.copy()
    attacked[4], without = np.nan, np.delete(ROWS, 4, axis=0)
    got = jax.jit(jd.rules.centered_clipping(100.0))(attacked, anchor=START)
    expected = START + (without - START).sum(axis=0) / len(ROWS)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_previous_result_that_is_not_finite_starts_again():
    rule = jd.rules.centered_clipping(1.0, 2)
    got = jax.jit(rule)(ROWS, anchor=jnp.full(5, jnp.inf))
    np.testing.assert_array_equal(got, 0)


def test_the_previous_result_is_in_the_state():
    rule = jd.rules.centered_clipping(1.0)
    steps = jax.random.normal(jax.random.key(0), (3, 8, 21))
    tx = jd.aggregate(harness.AXIS, rule, route="scatter")
    merged, _ = harness.run_steps(tx, "shard_map", jnp.zeros((8, 21)), steps)
    expected = np.zeros(21)
    for step, rows in enumerate(np.asarray(steps, np.float64)):
        expected = clipped(rows, expected, 1.0, 1)
        np.testing.assert_allclose(merged[0, step], expected, rtol=1e-5, atol=1e-6)


def test_arguments_have_a_range():
    with pytest.raises(ValueError, match=r"`radius` must lie in \(0, inf\), got 0"):
        jd.rules.centered_clipping(0.0)
    with pytest.raises(ValueError, match="`iterations` must be .* got 0"):
        jd.rules.centered_clipping(1.0, 0)
