"""Structured representatives: the program that is solved, and its graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import contrib
from jaxdist.contrib import _structured_representatives as module

POINTS = np.random.default_rng(0).normal(size=(20, 5)) + np.repeat(
    3 * np.eye(5)[:4], 5, axis=0
)


def objective(points, coefficients, sparsity=10.0, diversity=10.0, locality=10.0):
    """Return the objective from its definition, in float64."""
    columns = (points - points.mean(axis=0)).T
    gram = columns.T @ columns
    size = np.linalg.norm(gram)
    largest = np.linalg.norm(gram, axis=1).max() / size
    v = np.asarray(coefficients, float)
    total = np.sum((columns - columns @ v) ** 2) / (2 * size)
    total += largest / sparsity * np.linalg.norm(v, axis=1).sum()
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    ordered, middle = np.sort(squares, axis=0), np.median(squares)
    far, near = squares >= ordered[-3], squares <= ordered[2]
    for i in range(len(points)):
        for j in range(i):
            if far[i, j] and far[j, i]:
                weight = largest / diversity * squares[i, j] / squares.max()
                total += weight * np.abs(v[i] - v[j]).sum()
            if near[i, j] and near[j, i]:
                weight = largest / locality * np.exp(-squares[i, j] / (2 * middle))
                total += weight * np.abs(v[:, i] - v[:, j]).sum()
    return total


def test_the_objective_is_that_of_the_definition_and_falls():
    found = contrib.structured_representatives(POINTS, 4, num_steps=30)
    expected = objective(POINTS, found.coefficients)
    np.testing.assert_allclose(found.objectives[-1], expected, rtol=1e-5)
    nothing = objective(POINTS, np.zeros((20, 20)))
    assert found.objectives[-1] < found.objectives[9] < found.objectives[0] < nothing
    lengths = np.linalg.norm(found.coefficients, axis=1)
    np.testing.assert_array_equal(found.indices, np.argsort(-lengths)[:4])


def test_small_changes_do_not_make_it_better():
    found = contrib.structured_representatives(POINTS, 4, num_steps=100)
    best, rng = objective(POINTS, found.coefficients), np.random.default_rng(1)
    for size in (1e-3, 1e-2):
        for _ in range(10):
            other = found.coefficients + size * rng.normal(size=(20, 20))
            assert objective(POINTS, other) > best
    assert objective(POINTS, np.asarray(found.coefficients) * 0.98) > best - 1e-4
    assert objective(POINTS, np.asarray(found.coefficients) * 1.02) > best - 1e-4


@pytest.mark.parametrize(("sparsity", "is_zero"), [(0.99, True), (1.05, False)])
def test_when_nothing_is_chosen(sparsity, is_zero):
    found = contrib.structured_representatives(
        POINTS, 1, sparsity=sparsity, diversity=None, locality=None, num_steps=30
    )
    assert (not np.asarray(found.coefficients).any()) == is_zero


def test_points_in_another_order():
    order = np.random.default_rng(2).permutation(20)
    plain = contrib.structured_representatives(POINTS, 4, num_steps=30)
    moved = contrib.structured_representatives(100 * POINTS[order], 4, num_steps=30)
    expected = plain.coefficients[order][:, order]
    np.testing.assert_allclose(moved.coefficients, expected, atol=2e-4)
    np.testing.assert_array_equal(order[moved.indices], plain.indices)


def test_points_that_are_not_finite_are_never_chosen():
    points = np.concatenate([POINTS, [[np.nan] * 5, [np.inf] * 5]])[::-1]
    found = contrib.structured_representatives(points, 4, num_steps=30)
    plain = contrib.structured_representatives(POINTS[::-1], 4, num_steps=30)
    np.testing.assert_array_equal(found.indices, plain.indices + 2)
    assert not np.asarray(found.coefficients)[:2].any()
    points[3:] = np.nan
    few = contrib.structured_representatives(points, 3, num_steps=30)
    np.testing.assert_array_equal(few.indices, [2, 2, 2])
    points[2] = np.nan
    nobody = contrib.structured_representatives(points, 3, num_steps=30)
    assert not np.asarray(nobody.coefficients).any()


def test_equal_points():
    found = contrib.structured_representatives(np.ones((20, 5)), 2, num_steps=30)
    assert np.isfinite(found.objectives).all() and not found.coefficients.any()


def test_edges_are_mutual_and_count_once():
    array, finite = module._checked_points(POINTS)
    far, near = module._graphs_of(array, finite, 3)
    for graph in (far, near):
        real = graph.weights > 0
        assert np.all(graph.edges[real, 0] < graph.edges[real, 1]) and real.sum() >= 5
        assert len(graph.edges) == 64
    degrees = np.bincount(near.edges[near.weights > 0].ravel())
    assert degrees.max() <= 2  # a point is the first of its own three nearest


def test_what_is_traced_is_refused():
    with pytest.raises(ValueError, match="`points` must be known real numbers"):
        jax.jit(lambda x: contrib.structured_representatives(x, 1).indices)(jnp.eye(3))
