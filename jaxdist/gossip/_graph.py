"""Graph: a topology by its mixing matrix."""

from typing import Any

import numpy as np

from jaxdist.gossip import _phase, _topology

_ROUNDING = 1e-6  # of sums of weights, that float32 may have


def graph(mixing_matrix: Any) -> _topology.Topology:
    r"""Return the topology of a mixing matrix.

    .. math:: x_i \leftarrow \sum_j w_{ij} x_j

    Args:
      mixing_matrix: ``[W, W]``, no unit, at least 0, whose rows and columns sum to one.
        Row i is what worker i makes of all. Rows alone are enough under a rule, and
        columns alone for :func:`jaxdist.push_sum`. Several ``[phases, W, W]`` follow
        each other. What NumPy takes, or a graph of networkx whose edges have a
        ``weight`` and lead from who is heard.

    Returns:
      A topology for W workers.

    Raises:
      ValueError: If ``mixing_matrix`` is not square, has neither rows nor columns that
        sum to one, or does not connect all workers.

    Communication:
      One message to each neighbour per step, in as many permutations as one worker has
      neighbours; reports say the mean over the workers.

    Example:
      >>> matrix = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]]
      >>> topology = jaxdist.gossip.graph(matrix)
      >>> print(topology.degree(3), topology.symmetric)
      1 False
    """
    matrices = _topology.square_matrix("mixing_matrix", mixing_matrix)
    name = f"graph({matrices.shape[-1]} workers)"
    return graph_topology("mixing_matrix", name, matrices)


def graph_topology(
    argument: str, name: str, matrices: np.ndarray
) -> _topology.Topology:
    """Return the topology of mixing matrices, or raise for what is none.

    Args:
      argument: How errors call what they came from.
      name: Of the topology.
      matrices: ``[phases, W, W]``.
    """
    rows, columns = (_sum_to_one(matrices, axis) for axis in (2, 1))
    if not (rows or columns):
        raise ValueError(
            f"`{argument}` must have rows or columns that sum to one, got rows that "
            f"sum to {_shown(matrices.sum(axis=2))} and columns that sum to "
            f"{_shown(matrices.sum(axis=1))}. jaxdist.gossip.metropolis makes weights "
            "of a graph."
        )
    phases = [_phase.phase_of_matrix(matrix) for matrix in matrices]
    if apart := _phase.unreached(phases):
        raise ValueError(
            f"`{argument}` must connect all workers, got one in which worker "
            f"{apart[0]} never hears of worker {apart[1]}, not even through others."
        )
    return _topology.Topology(
        name,
        lambda num_workers: phases,
        matrices.shape[-1],
        rows=rows,
        columns=columns,
        symmetric=bool(np.allclose(matrices, np.swapaxes(matrices, 1, 2))),
    )


def _sum_to_one(matrices, axis):
    return bool(np.all(np.abs(matrices.sum(axis=axis) - 1) <= _ROUNDING))


def _shown(sums):
    return f"{sums.min():.3g} to {sums.max():.3g}"
