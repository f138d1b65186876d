"""Prox of total variations: the gap between primal and dual is the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import contrib
from tests import harness

prox = jax.jit(contrib.graph_total_variation_prox, static_argnames="num_steps")


def random_graph(seed, nodes=30, edges=60):
    """Return edges ``[E, 2]`` and weights ``[E]``."""
    rng = np.random.default_rng(seed)
    pairs = np.stack(np.triu_indices(nodes, 1), axis=1)
    chosen = rng.choice(len(pairs), edges, replace=False)
    return pairs[chosen], rng.uniform(0, 1, edges).astype(np.float32)


def objective(x, values, edges, weights):
    """Return what is minimised, in float64."""
    x, values, weights = (np.asarray(a, float) for a in (x, values, weights))
    apart = np.abs(x[edges[:, 0]] - x[edges[:, 1]])
    return np.sum((x - values) ** 2, axis=0) / 2 + weights @ apart


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_closes(seed):
    edges, weights = random_graph(seed)
    values = np.random.default_rng(seed).normal(size=(30, 4)).astype(np.float32)
    found = prox(values, edges, weights, num_steps=500)
    scale = np.sum(values**2, axis=0) / 2
    assert np.all(found.gap >= 0) and np.all(found.gap <= 1e-7 * scale)
    assert np.all(np.abs(found.dual) <= weights[:, None])
    best = objective(found.values, values, edges, weights)
    dual = np.asarray(found.dual, float)
    moved = np.zeros((30, 4))
    np.add.at(moved, edges[:, 0], dual)
    np.add.at(moved, edges[:, 1], -dual)
    below = np.sum(values.astype(float) ** 2 - (values - moved) ** 2, axis=0) / 2
    np.testing.assert_allclose(best, below, atol=3e-6)  # no other x can be lower
    np.testing.assert_allclose(found.values.mean(0), values.mean(0), atol=1e-6)


def test_the_gap_says_how_far_it_is():
    edges, weights = random_graph(3)
    values = np.random.default_rng(3).normal(size=30).astype(np.float32)
    least = objective(prox(values, edges, weights).values, values, edges, weights)
    for steps in (1, 10, 40):
        found = prox(values, edges, weights, num_steps=steps)
        above = objective(found.values, values, edges, weights) - least
        assert -1e-6 <= above <= found.gap + 1e-6 and found.gap > 1e-4


def test_a_dual_to_start_from():
    edges, weights = random_graph(4)
    values = np.random.default_rng(4).normal(size=(30, 2)).astype(np.float32)
    first = prox(values, edges, weights, num_steps=500)
    again = prox(values, edges, weights, num_steps=1, dual=first.dual)
    assert np.all(again.gap <= 2e-6)
    too_large = prox(values, edges, weights, dual=first.dual + 100, num_steps=500)
    np.testing.assert_allclose(too_large.values, first.values, atol=1e-3)


@pytest.mark.parametrize(("weight", "moved"), [(0.0, 0.0), (0.5, 0.5), (9.0, 1.5)])
def test_two_nodes_in_closed_form(weight, moved):
    found = prox(jnp.array([1.0, 4.0]), jnp.array([[0, 1]]), jnp.array([weight]))
    np.testing.assert_allclose(found.values, [1 + moved, 4 - moved], atol=1e-6)


def test_strong_ties_give_means_of_components():
    edges = np.array([[0, 1], [1, 2], [3, 4]])
    found = prox(jnp.arange(6.0) ** 2, edges, np.full(3, 1e3, np.float32))
    expected = [5 / 3] * 3 + [12.5] * 2 + [25]
    np.testing.assert_allclose(found.values, expected, atol=1e-4)


def test_narrow_values_are_moved_in_float32():
    edges, weights = random_graph(5)
    values = np.random.default_rng(5).normal(size=30).astype(jnp.bfloat16)
    narrow, wide = (
        prox(jnp.asarray(values, dtype), edges, weights)
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    assert narrow.values.dtype == jnp.bfloat16 and narrow.dual.dtype == jnp.float32
    np.testing.assert_array_equal(narrow.values, wide.values.astype(jnp.bfloat16))


EDGES, _ = random_graph(6, 8, 12)


def move_own(values, weights):
    """Return what one worker makes of values and weights of its own."""
    return contrib.graph_total_variation_prox(values, EDGES, weights, 20)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_each_worker_by_itself(backend):
    rng = np.random.default_rng(6)
    values = rng.normal(size=(8, 8)).astype(np.float32)
    weights = rng.uniform(size=(8, 12)).astype(np.float32)
    found = harness.run(move_own, backend, values, weights)
    alone = prox(values[3], EDGES, weights[3], num_steps=20)
    np.testing.assert_allclose(found.values[3], alone.values, atol=1e-6)


def test_without_edges_nothing_moves():
    found = prox(jnp.arange(3.0), np.zeros((0, 2), int), np.zeros(0, np.float32))
    np.testing.assert_array_equal(found.values, [0, 1, 2])
    assert found.gap == 0


def test_arguments():
    edges, weights = np.array([[0, 1]]), np.ones(1)
    with pytest.raises(ValueError, match=r"`dual` must be of shape \(1, 2\), got \(2,"):
        prox(jnp.ones((3, 2)), edges, weights, dual=jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="`weights` must be one number for each of 1"):
        prox(jnp.ones(3), edges, np.ones(2))
