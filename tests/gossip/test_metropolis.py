"""Weights of any undirected graph keep the mean."""

import numpy as np
import pytest

import jaxdist as jd

RNG = np.random.default_rng(0)


def test_weights():
    edges = RNG.random((9, 9)) < 0.3
    edges |= edges.T | np.eye(9, k=1, dtype=bool) | np.eye(9, k=-1, dtype=bool)
    matrix = jd.gossip.metropolis(edges).matrix(9)
    np.testing.assert_allclose(matrix.sum(axis=0), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    np.fill_diagonal(edges, False)
    degrees = edges.sum(axis=1)
    i, j = np.argwhere(edges)[0]
    assert matrix[i, j] == 1 / (1 + max(degrees[i], degrees[j]))


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        ([[0, 1], [0, 0]], "`adjacency` must be one symmetric matrix"),
        (np.zeros((2, 2)), "`adjacency` must connect all workers"),
        ([[0, 1, 1]], "`adjacency` must be a square matrix"),
    ],
)
def test_what_is_no_graph(adjacency, message):
    with pytest.raises(ValueError, match=message):
        jd.gossip.metropolis(adjacency)
