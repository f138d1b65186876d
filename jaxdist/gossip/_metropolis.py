"""Metropolis: weights that keep the mean, for any undirected graph."""

from typing import Any

import numpy as np

from jaxdist.gossip import _graph, _topology


def metropolis(adjacency: Any) -> _topology.Topology:
    r"""Return a topology with weights that keep the mean, for any undirected graph.

    .. math:: w_{ij} = \frac{1}{1 + \max(d_i, d_j)} \text{ of neighbours}, \qquad
       w_{ii} = 1 - \sum_{j \ne i} w_{ij}

    for worker i with :math:`d_i` neighbours.

    Args:
      adjacency: Symmetric ``[W, W]``, not 0 where two workers are neighbours; what
        NumPy takes, or an undirected graph of networkx. The diagonal does not matter.

    Returns:
      A symmetric topology for W workers.

    Raises:
      ValueError: If ``adjacency`` is no symmetric square matrix, or its graph is not
        connected.

    Communication:
      One message to each neighbour per step; reports say the mean over the workers.

    Example:
      >>> path = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
      >>> print(jaxdist.gossip.metropolis(path).matrix(3).round(2))
      [[0.67 0.33 0.  ]
       [0.33 0.33 0.33]
       [0.   0.33 0.67]]

    References:
      Xiao and Boyd, `Fast Linear Iterations for Distributed Averaging
      <https://doi.org/10.1016/j.sysconle.2004.02.022>`_, 2004, Section 4.2.
    """
    tables = _topology.square_matrix("adjacency", adjacency) != 0
    connected = tables[0]
    if len(tables) > 1 or np.any(connected != connected.T):
        raise ValueError(
            "`adjacency` must be one symmetric matrix [W, W], of which neighbours are "
            "neighbours of each other, got one that is not. For directed graphs give "
            "jaxdist.gossip.graph the weights."
        )
    name = f"metropolis({len(connected)} workers)"
    return _graph.graph_topology("adjacency", name, metropolis_weights(connected)[None])


def metropolis_weights(connected: np.ndarray) -> np.ndarray:
    """Return the weights ``[W, W]`` of a symmetric bool matrix."""
    edges = connected & ~np.eye(len(connected), dtype=bool)
    degrees = edges.sum(axis=1)
    weights = np.where(edges, 1 / (1 + np.maximum(degrees[:, None], degrees)), 0.0)
    np.fill_diagonal(weights, 1 - weights.sum(axis=1))
    return weights
