"""Graphs are cut into as few permutations as there can be, whose matrix is theirs."""

import numpy as np
import pytest

from jaxdist.gossip import _phase

RNG = np.random.default_rng(0)


def random_matrix(num_workers, share):
    """Return weights with rows that sum to one, and a ring in the graph."""
    weights = RNG.random((num_workers, num_workers))
    weights *= RNG.random((num_workers, num_workers)) < share
    weights += np.eye(num_workers) + np.roll(np.eye(num_workers), 1, axis=0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_a_matrix_becomes_permutations(num_workers, share):
    matrix = random_matrix(num_workers, share)
    phase = _phase.phase_of_matrix(matrix)
    np.testing.assert_allclose(phase.matrix, matrix, atol=1e-15)
    edges = (matrix > 0) & ~np.eye(num_workers, dtype=bool)
    assert len(phase.sources) == max(edges.sum(axis=0).max(), edges.sum(axis=1).max())
    np.testing.assert_array_equal(phase.num_heard, edges.sum(axis=1))
    assert phase.num_messages == edges.sum() / num_workers
    for sources, weights in zip(phase.sources, phase.weights, strict=True):
        hears = sources != np.arange(num_workers)
        assert len(set(sources[hears])) == hears.sum()
        assert not weights[~hears].any() and (weights[hears] > 0).all()


def test_shifts_that_are_the_same_count_once():
    phase = _phase.phase_of_shifts(4, [1, -3, 5, 4])
    np.testing.assert_array_equal(phase.sources, [[3, 0, 1, 2]])
    np.testing.assert_array_equal(phase.own, [0.5] * 4)


def test_pairs_meet_half_way():
    phase = _phase.phase_of_pairs(3, [(0, 2)])
    expected = [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]]
    np.testing.assert_array_equal(phase.matrix, expected)


def test_who_is_never_heard_is_found():
    there = _phase.phase_of_matrix(np.array([[1.0, 0.0], [0.5, 0.5]]))
    back = _phase.phase_of_matrix(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert _phase.unreached([there]) == (0, 1)
    assert _phase.unreached([back]) == (1, 0)
    assert _phase.unreached([there, back]) is None
