"""Topologies: who hears whom, for any number of workers, and how fast all agree."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks, _random
from jaxdist.gossip import _phase

_SIZES = (4, 8, 16, 32, 64)  # numbers of workers of which a table is printed
_ROUNDING = 1e-12  # an eigenvalue below it is 0: its root of few steps would not be


# No tuple: it is compared by identity, since arrays have no truth value.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Topology:
    r"""Which workers hear each other, and what they give to what they hear.

    In a *phase* worker i makes :math:`\sum_j w_{ij} x_j` of what it hears. A topology
    has one phase, or several that follow each other or are drawn by all workers alike.
    ``print(topology)`` shows a table.

    Attributes:
      name: How errors and tables call it.
      make: ``(num_workers) -> phases``.
      num_workers: The only W that it is for, or None.
      key: With which a phase is drawn in each step, or None where they take turns.
      rows: The weights with which a worker mixes sum to one.
      columns: The weights with which a worker is mixed sum to one, so that the mean
        over the workers stays.
      symmetric: Two workers give each other the same weight.

    Example:
      >>> topology = jaxdist.gossip.ring()
      >>> print(topology.degree(8), round(topology.spectral_gap(8), 3))
      2 0.195
      >>> print(topology.matrix(4).round(2))
      [[0.33 0.33 0.   0.33]
       [0.33 0.33 0.33 0.  ]
       [0.   0.33 0.33 0.33]
       [0.33 0.   0.33 0.33]]
    """

    name: str
    make: Callable[[int], Sequence[_phase.Phase]]
    num_workers: int | None = None
    key: Any = None
    rows: bool = True
    columns: bool = True
    symmetric: bool = True

    def __repr__(self) -> str:
        """Return the name."""
        return self.name

    def __str__(self) -> str:
        """Return a table over numbers of workers."""
        return "\n".join([self.name, _HEADER, *map(self._row, self._sizes())])

    def _sizes(self):
        """Return the numbers of workers that a table shows."""
        return _SIZES if self.num_workers is None else (self.num_workers,)

    def _row(self, num_workers):
        try:
            phases = self.phases(num_workers)
        except ValueError:
            return f"{num_workers:>7}  not for so many"
        messages = self.num_messages(num_workers)
        share = messages * num_workers / (2 * max(num_workers - 1, 1))
        return (
            f"{num_workers:>7} {self.degree(num_workers):>10} {len(phases):>7} "
            f"{messages:>9.3g} {share:>17.3g} {self.spectral_gap(num_workers):>13.3g}"
        )

    @functools.cached_property
    def _known(self):
        """The phases of each number of workers that was asked for."""
        return {}

    def phases(self, num_workers: int) -> tuple[_phase.Phase, ...]:
        """Return who hears whom in each phase.

        Args:
          num_workers: W, at least 1.

        Raises:
          ValueError: If the topology is not for so many workers, or leaves some of them
            out.
        """
        num_workers = _checks.integer("num_workers", num_workers, 1)
        if num_workers not in self._known:
            self._known[num_workers] = self._checked_phases(num_workers)
        return self._known[num_workers]

    def _checked_phases(self, num_workers):
        if self.num_workers not in (None, num_workers):
            raise ValueError(
                f"`num_workers` must be {self.num_workers} for the topology "
                f"{self.name}, got {num_workers}."
            )
        phases = tuple(self.make(num_workers))
        if apart := _phase.unreached(phases):
            raise ValueError(
                f"`topology` {self.name} must connect all workers, got one of "
                f"{num_workers} in which worker {apart[0]} never hears of worker "
                f"{apart[1]}, not even through others."
            )
        return phases

    def matrix(self, num_workers: int, phase: int = 0) -> np.ndarray:
        """Return the mixing matrix of a phase.

        Args:
          num_workers: W, at least 1.
          phase: In [0, number of phases).

        Returns:
          float64 ``[W, W]``; row i is what worker i makes of all.
        """
        phases = self.phases(num_workers)
        return phases[_checks.integer("phase", phase, 0, len(phases) - 1)].matrix

    def degree(self, num_workers: int) -> int:
        """Return the most neighbours that a worker hears in a step."""
        return max(int(np.max(p.num_heard)) for p in self.phases(num_workers))

    def num_messages(self, num_workers: int) -> float:
        """Return how many messages a worker sends in a step, on average."""
        return float(np.mean([p.num_messages for p in self.phases(num_workers)]))

    def spectral_gap(self, num_workers: int) -> float:
        r"""Return how fast differences vanish: :math:`1 - \rho`, no unit.

        In a step they shrink by the factor :math:`\rho`: the second largest eigenvalue
        of the mixing matrix, by its magnitude. Where phases take turns it is that of
        their product, as a mean over the phases; where they are drawn it is the root of
        that of :math:`\mathbb{E}\, W^\top W`, which bounds squared differences.

        Args:
          num_workers: W, at least 1.
        """
        if num_workers == 1:
            return 1.0
        matrices = [phase.matrix for phase in self.phases(num_workers)]
        if self.key is not None:
            squares = sum(m.T @ m for m in matrices) / len(matrices)
            return 1 - _second_eigenvalue(squares) ** 0.5
        product = functools.reduce(lambda total, m: m @ total, matrices)
        return 1 - _second_eigenvalue(product) ** (1 / len(matrices))

    def phase_of_step(self, num_workers: int, count: jax.Array) -> jax.Array:
        """Return which phase a step has, int32, shape (); equal on all workers.

        Args:
          num_workers: W.
          count: Of the step, from 0; int32, shape ().
        """
        number = len(self.phases(num_workers))
        if self.key is None:
            return count % number
        key = _random.as_key(jnp.asarray(self.key, jnp.uint32))
        return jax.random.randint(jax.random.fold_in(key, count), (), 0, number)


_HEADER = "workers neighbours  phases  messages  sent / all-reduce  spectral gap"


def _second_eigenvalue(matrix):
    """Return the magnitude of the second largest eigenvalue; the largest is 1."""
    second = np.sort(np.abs(np.linalg.eigvals(matrix)))[-2]
    return float(second) if second > _ROUNDING else 0.0


def check_topology(value: Any) -> None:
    """Raise unless the value is a topology."""
    _checks.instance("topology", value, Topology, "jaxdist.gossip.ring()")


def check_mean(transformation: str, topology: Topology) -> None:
    """Raise unless mixing keeps the mean over the workers.

    Args:
      transformation: How errors call it.
      topology: Of its workers.
    """
    if not (topology.rows and topology.columns):
        alone = "rows" if topology.rows else "columns"
        raise ValueError(
            f"`topology` of {transformation} must have weights whose rows and columns "
            f"sum to one, so that the mean over the workers stays, got "
            f"{topology.name}, of which only the {alone} do. jaxdist.gossip.metropolis "
            "makes such weights of a graph, and jaxdist.push_sum takes columns alone."
        )


def square_matrix(name: str, value: Any) -> np.ndarray:
    """Return float64 ``[phases, W, W]`` of a matrix, of several, or of a graph.

    Args:
      name: Of the argument.
      value: What NumPy takes, or a graph as networkx has them, whose edges may have a
        ``weight``; an edge that has none counts 1.
    """
    try:
        matrix = _matrix_of_graph(value) if _is_graph(value) else np.asarray(value)
        matrix = matrix.astype(float)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    is_square = matrix.ndim in (2, 3) and len(set(matrix.shape[-2:])) == 1
    if not (is_square and matrix.size and np.all(np.isfinite(matrix) & (matrix >= 0))):
        raise ValueError(
            f"`{name}` must be a square matrix [W, W] of finite numbers of at least 0, "
            f"or a graph of networkx, got {value!r}."
        )
    return matrix if matrix.ndim == 3 else matrix[None]


def _is_graph(value):
    """Whether the value is a graph of networkx, which need not be there."""
    return callable(getattr(value, "adjacency", None)) and hasattr(value, "nodes")


def _matrix_of_graph(graph):
    """Return the weights ``[W, W]`` of a graph; an edge leads from who is heard."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    matrix = np.zeros((len(place),) * 2)
    for node, neighbors in graph.adjacency():
        for other, attributes in neighbors.items():
            matrix[place[other], place[node]] = attributes.get("weight", 1.0)
    return matrix
