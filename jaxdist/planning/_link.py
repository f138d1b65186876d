"""Link: how long a message takes, from its bytes and its rounds."""

import dataclasses
import math
from typing import Literal, get_args

from jaxdist import _checks

Algorithm = Literal["ring", "tree"]


@dataclasses.dataclass(frozen=True)
class Link:
    r"""How workers are connected over one axis: an alpha-beta model.

    A message of :math:`n` bytes takes :math:`r \alpha + n / b`, with the latency
    :math:`\alpha`, the bandwidth :math:`b`, and the rounds :math:`r` that follow each
    other: to all-reduce :math:`2(W-1)` in a ring and
    :math:`2 \lceil \log_2 W \rceil` in a tree, to gather half of them. An all-to-all
    and a permutation take one: all their messages leave at once.

    Args:
      num_workers: :math:`W`, at least 1.
      bandwidth: Bytes per second that a device sends over this axis. Devices that
        share a network card have their share of it.
      latency: Seconds from a message's start to its first byte.
      algorithm: Whether rounds go along a ring or a tree. The bytes are the same.

    Raises:
      ValueError: If a number is out of range, or the algorithm is unknown.

    Example:
      >>> link = jaxdist.Link(num_workers=8, bandwidth=125e6, latency=1e-3)
      >>> print(link.seconds("psum", 125e6))
      1.014
    """

    num_workers: int
    bandwidth: float
    latency: float = 0.0
    algorithm: Algorithm = "ring"

    def __post_init__(self):
        """Check the numbers."""
        _checks.integer("num_workers", self.num_workers, 1)
        _checks.real("bandwidth", self.bandwidth, 0, above=True, static=True)
        _checks.real("latency", self.latency, 0, static=True)
        _checks.one_of("algorithm", self.algorithm, get_args(Algorithm))

    def seconds(self, route: str, nbytes: float) -> float:
        """Return how long a message takes.

        Args:
          route: ``"psum"``, ``"gather"``, ``"scatter"`` or ``"permute"``.
          nbytes: Bytes that each device sends in it.
        """
        return self._num_rounds(route) * self.latency + nbytes / self.bandwidth

    def _num_rounds(self, route: str) -> int:
        """Return how many messages must follow each other."""
        if route not in ("psum", "gather"):
            return 1
        others = self.num_workers - 1
        is_ring = self.algorithm == "ring"
        one_way = others if is_ring else math.ceil(math.log2(self.num_workers))
        return 2 * one_way if route == "psum" else one_way
