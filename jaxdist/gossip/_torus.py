"""Torus: a grid whose borders are joined; every worker hears the four around it."""

import numpy as np

from jaxdist import _checks
from jaxdist.gossip import _phase, _topology


def torus(rows: int, columns: int) -> _topology.Topology:
    r"""Let each worker hear the four around it in a grid whose borders are joined.

    Worker :math:`r \cdot \text{columns} + c` stands in row r and column c. All five
    count alike. The network of a TPU has this form.

    Args:
      rows: At least 1.
      columns: At least 1.

    Returns:
      A symmetric topology for ``rows * columns`` workers.

    Raises:
      ValueError: If an argument is below 1; when used, if there are not so many
        workers.

    Communication:
      4 messages per worker and step, fewer where a side has only two.

    Example:
      >>> topology = jaxdist.gossip.torus(4, 4)
      >>> print(topology.degree(16), round(topology.spectral_gap(16), 3))
      4 0.4
    """
    rows = _checks.integer("rows", rows, 1)
    columns = _checks.integer("columns", columns, 1)
    size = rows * columns

    def make(num_workers):
        grid = np.arange(num_workers).reshape(rows, columns)
        connected = np.zeros((num_workers, num_workers), bool)
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            connected[grid, np.roll(grid, step, axis)] = True
        np.fill_diagonal(connected, True)
        return [_phase.phase_of_matrix(connected / connected.sum(axis=1)[:, None])]

    return _topology.Topology(f"torus({rows}, {columns})", make, size)
