"""Coded storage: who holds which parts of whose data, so that a shuffle costs less."""

import dataclasses
import itertools
import math
from typing import Any, Literal

import numpy as np

from jaxdist import _checks


# No tuple: it is compared by identity, since arrays have no truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class CodedStorage:
    """Who holds which parts of which points of data; made by :func:`coded_storage`.

    Attributes:
      owners: int ``[N]``, the worker that computes with each point, and holds it whole.
      labels: bool ``[N, P, K]``, which workers cache each part of it.
      scheme: How labels change when points move: ``"moving"`` or ``"static"``.
    """

    owners: np.ndarray
    labels: np.ndarray
    scheme: str

    @property
    def num_workers(self) -> int:
        """K."""
        return self.labels.shape[2]

    @property
    def num_points(self) -> int:
        """N."""
        return self.labels.shape[0]

    @property
    def num_parts(self) -> int:
        """P, parts of each point."""
        return self.labels.shape[1]

    @property
    def num_caches(self) -> int:
        """Workers that cache each part."""
        return int(self.labels[0, 0].sum())

    @property
    def held(self) -> np.ndarray:
        """Which parts each worker holds, bool ``[K, N, P]``."""
        own = self.owners[:, None, None] == np.arange(self.num_workers)  # [N, 1, K]
        return np.moveaxis(self.labels | own, 2, 0)

    @property
    def points_held(self) -> np.ndarray:
        """Points that each worker has room for, float ``[K]``."""
        return self.held.sum(axis=(1, 2)) / self.num_parts

    def split(self, points: Any) -> np.ndarray:
        """Cut points into their parts.

        Args:
          points: ``[N, ...]`` of any dtype of fixed size; NaN stay what they are.

        Returns:
          Bytes, uint8 ``[N, P, size]``; zeros fill the last part of a point.

        Raises:
          ValueError: If these are not N points.
        """
        array = np.ascontiguousarray(points)
        if array.ndim < 1 or len(array) != self.num_points or array.dtype.hasobject:
            raise ValueError(
                f"`points` must be an array of {self.num_points} points, got "
                f"{array.dtype} {array.shape}."
            )
        width = math.prod(array.shape[1:])
        rows = array.reshape(self.num_points, width).view(np.uint8)
        size = -(-rows.shape[1] // self.num_parts)
        padding = size * self.num_parts - rows.shape[1]
        padded = np.pad(rows, ((0, 0), (0, padding)))
        return padded.reshape(self.num_points, self.num_parts, size)

    def fill(self, points: Any) -> np.ndarray:
        """Return the memories of all workers.

        Args:
          points: As in :meth:`split`.

        Returns:
          uint8 ``[K, N, P, size]``, zeros for parts that the worker does not hold.

        Raises:
          ValueError: If these are not N points.
        """
        return np.where(self.held[..., None], self.split(points), np.uint8(0))

    def own_points(self, worker: int, memory: np.ndarray, like: Any) -> np.ndarray:
        """Put the points together that a worker owns.

        Args:
          worker: Its index, in [0, K).
          memory: uint8 ``[N, P, size]``, what it holds.
          like: An array of points, of which only dtype and shape matter.

        Returns:
          ``[N/K, ...]``, by their number.

        Raises:
          ValueError: If there is no such worker.
        """
        worker = _checks.integer("worker", worker, 0, self.num_workers - 1)
        like = np.asarray(like)
        nbytes = like.dtype.itemsize * math.prod(like.shape[1:])
        own = memory[self.owners == worker]
        rows = own.reshape(len(own), math.prod(own.shape[1:]))[:, :nbytes]
        points = np.ascontiguousarray(rows).view(like.dtype)
        return points.reshape(len(own), *like.shape[1:])


def coded_storage(
    num_workers: int,
    num_caches: int,
    num_points: int | None = None,
    scheme: Literal["moving", "static"] = "moving",
) -> CodedStorage:
    r"""Give each worker points of its own, and parts of the points of others.

    For each shuffle of the data, :func:`shuffle_plan` then says what a server sends to
    all workers at once: sums modulo 2, from which each finds what it lacks with what it
    holds. With c caches of each part, what the server broadcasts in the worst case is

    .. math:: \frac NK\,\frac{K - 1 - c}{c + 1} \text{ (moving)}, \qquad
       \frac NK\,\frac{K - c}{c + 1} \text{ (static)}

    points, where workers have room for :math:`(1 + c) N/K` points, or
    :math:`(1 + c (K - 1)/K) N/K`. For the worst shuffle no code needs less than the
    moving one with this room, as long as caches hold plain parts.

    It wins where one transmission reaches all workers. On links between pairs it loses:
    each worker receives all that is sent, and without a code it would receive only what
    it lacks, at most :math:`(N/K) (K - 1 - c)/(K - 1)` points.

    Args:
      num_workers: K, at least 1.
      num_caches: c, in [0, K-1]: workers that cache each part, its owner not counted
        (``"moving"``), or counted too (``"static"``).
      num_points: N, a multiple of K; K by default. A point may be many rows of data.
      scheme: ``"moving"``: the old owner of a point takes the place of the new one in
        its labels, so that the room stays the same. ``"static"``: labels never change,
        and the owner may be among them.

    Returns:
      The storage in which worker i owns points i N/K to (i+1) N/K - 1, cut into
      :math:`P = \binom{K-1}{c}` parts each, or :math:`\binom Kc` (static). Its labels
      take N P K bytes, so K should be small.

    Raises:
      ValueError: If an argument is out of range.

    Communication:
      None; this is NumPy, for simulations and as an oracle.

    Example:
      >>> storage = jaxdist.coding.coded_storage(num_workers=4, num_caches=1)
      >>> print(storage.num_parts, storage.points_held)
      3 [2. 2. 2. 2.]

    References:
      Elmahdy and Mohajer, `On the Fundamental Limits of Coded Data Shuffling for
      Distributed Machine Learning <https://arxiv.org/abs/1807.04255>`_, 2018 (moving),
      where :math:`S = c + 1`; Attia and Tandon, `Information Theoretic Limits of Data
      Shuffling for Distributed Learning <https://arxiv.org/abs/1609.05181>`_, 2016
      (static).
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    num_caches = _checks.integer("num_caches", num_caches, 0, num_workers - 1)
    _checks.one_of("scheme", scheme, ("moving", "static"))
    num_points = num_workers if num_points is None else num_points
    num_points = _checks.integer("num_points", num_points, 1)
    if num_points % num_workers:
        raise ValueError(
            f"`num_points` must be a multiple of {num_workers} workers, "
            f"got {num_points}."
        )
    owners = np.arange(num_points) // (num_points // num_workers)
    workers = range(num_workers)
    labels = [
        [
            np.isin(workers, chosen)
            for chosen in itertools.combinations(workers, num_caches)
            if scheme == "static" or owner not in chosen
        ]
        for owner in workers
    ]
    return CodedStorage(owners, np.array(labels)[owners], scheme)
