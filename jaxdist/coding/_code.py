"""Codes: which worker computes what, so that the server need not wait for all.

The data are cut into blocks of units, and workers hold blocks in common. Workers of a
*repetition code* send the sum of gradients of each block that they hold; the server
counts one message for each block. Workers of a *linear code* send one combination of
their blocks; the server combines what arrives.

Weights with which a linear code decodes are found from those of all workers. What the
left null space of the coefficients adds to them changes no sum, so the part that moves
the weights of missing workers to zero is one least-squares problem. Its rounding errors
are of the size of the weights themselves, however badly the coefficients are
conditioned. The solution with the smallest weights is taken, so that each worker that
arrives in addition makes the sum more exact.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks

_ROUNDING = 1e-6  # of what float64 coefficients of all workers combine to, relative


class Decoded(NamedTuple):
    """How the server adds up what has arrived, as :meth:`Code.decode` says."""

    weights: jax.Array  # [W, B] of messages of blocks, or [W] of linear codes; no unit
    covered: jax.Array  # bool, shape (); the sum is that of all units


class Holders(NamedTuple):
    """Which worker brings each block first, as :meth:`Code.first_holders` says."""

    worker: jax.Array  # int32 [B]
    time: jax.Array  # float32 [B], seconds; infinite if no holder arrives


# No tuple: it is compared by identity, since arrays have no truth value.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Code:
    r"""Which worker computes what, and how sums of gradients are put together again.

    With the arrays of NumPy it is a constant of the program that uses it. Its methods
    work under ``jax.jit`` and ``jax.vmap``.

    Attributes:
      name: How errors and tables call it.
      placement: bool ``[W, B]``, the blocks of data that each worker holds.
      block_sizes: int ``[B]``, units of each block.
      coefficients: float ``[W, B]`` of a linear code, whose worker i sends
        :math:`\sum_b C_{ib} g_b` for sums of gradients :math:`g_b`. None for a
        repetition code, whose workers send :math:`g_b` of each block they hold.
      threshold: Any so many workers can be decoded. None if it depends on who they are.
        Of a linear code this is a promise, which only its maker can check.

    Raises:
      ValueError: If shapes do not fit, if a worker combines blocks that it does not
        hold, if all workers together cannot be decoded, or if a linear code has no
        threshold.

    Example:
      >>> import numpy as np
      >>> twice = np.array([[True, False], [True, True], [False, True]])
      >>> code = jaxdist.coding.Code("by hand", twice, np.array([10, 10]))
      >>> print(code.loads, code.covers)
      [10 20 10] True
      >>> print(code.decode(jnp.array([False, True, True])).weights)
      [[0. 0.]
       [1. 1.]
       [0. 0.]]
    """

    name: str
    placement: np.ndarray
    block_sizes: np.ndarray
    coefficients: np.ndarray | None = None
    threshold: int | None = None

    def __post_init__(self):
        """Check that the arrays fit each other."""
        _check_placement(self.placement, self.block_sizes)
        if self.threshold is not None:
            _checks.integer("threshold", self.threshold, 1, self.num_workers)
        if self.coefficients is not None:
            _check_coefficients(self)

    def __repr__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def num_workers(self) -> int:
        """W."""
        return self.placement.shape[0]

    @property
    def num_blocks(self) -> int:
        """B."""
        return self.placement.shape[1]

    @property
    def num_units(self) -> int:
        """Units of data in all blocks."""
        return int(self.block_sizes.sum())

    @property
    def loads(self) -> np.ndarray:
        """Units that each worker computes, int ``[W]``."""
        return self.placement @ self.block_sizes

    @property
    def num_messages(self) -> np.ndarray:
        """Messages of the size of a gradient that each worker sends, int ``[W]``."""
        if self.coefficients is not None:
            return np.ones(self.num_workers, int)
        return self.placement.sum(axis=1)

    @property
    def block_of_worker(self) -> np.ndarray:
        """The first block that each worker holds, int ``[W]``; of many codes the only.

        ``blocks[code.block_of_worker]`` are the batches of the workers.
        """
        return self.placement.argmax(axis=1)

    @property
    def covers(self) -> bool:
        """Whether all workers together hold every block."""
        return bool(self.placement.any(axis=0).all())

    def decode(self, arrived: Any) -> Decoded:
        """Return the weights that make the sum over all units of what has arrived.

        Args:
          arrived: bool ``[W]``, whose messages are there.

        Returns:
          Weights of a repetition code are float32 ``[W, B]``, 1 for the arrived holder
          of lowest index of each block, else 0. Those of a linear code are ``[W]``, in
          float64 under x64, and all 0 if fewer than ``threshold`` have arrived.

        Raises:
          ValueError: If ``arrived`` is not of shape [W].
        """
        present = self._of_workers("arrived", arrived).astype(bool)
        if self.coefficients is not None and self.threshold is not None:
            return self._decode_linear(present, self.threshold)
        held = jnp.asarray(self.placement) & present[:, None]
        known = jnp.any(held, axis=0)  # [B]
        first = jnp.argmax(held, axis=0)
        counts = (jnp.arange(self.num_workers)[:, None] == first[None]) & known[None]
        return Decoded(counts.astype(jnp.float32), jnp.all(known))

    def _decode_linear(self, present, threshold):
        """Return the smallest weights that are zero where nothing has arrived."""
        dtype = jnp.result_type(float)
        weights, null = (jnp.asarray(x, dtype) for x in self._solutions)
        missing = ~present
        if null.shape[1]:
            shift = jnp.linalg.lstsq(
                jnp.where(missing[:, None], null, 0), jnp.where(missing, -weights, 0)
            )[0]
            weights += jnp.matmul(null, shift, precision=jax.lax.Precision.HIGHEST)
        covered = jnp.sum(present) >= threshold
        return Decoded(jnp.where(present & covered, weights, 0), covered)

    @functools.cached_property
    def _solutions(self):
        """Return weights ``[W]`` of all workers, and what may be added ``[W, d]``."""
        table = np.asarray(self.coefficients)
        left, scales, _ = np.linalg.svd(table)
        rank = int(np.sum(scales > scales[0] * max(left.shape) * np.finfo(float).eps))
        whole = np.linalg.lstsq(table.T, np.ones(self.num_blocks), rcond=None)[0]
        return whole, left[:, rank:]

    def first_holders(self, finish_times: Any) -> Holders:
        """Return who brings each block first, and when.

        Args:
          finish_times: ``[W]`` seconds; infinite for a worker that never arrives.

        Returns:
          For each block the holder with the earliest time, of equal ones the lowest
          index, and that time. Worker 0 and infinity if no holder arrives.

        Raises:
          ValueError: If ``finish_times`` is not of shape [W], or for a linear code,
            which has no message of one block.
        """
        self._needs_blocks("first_holders")
        times = self._times(finish_times)
        held = jnp.where(jnp.asarray(self.placement), times[:, None], jnp.inf)  # [W, B]
        first = jnp.argmin(held, axis=0).astype(jnp.int32)
        return Holders(first, jnp.min(held, axis=0))

    def finish_time(self, finish_times: Any) -> jax.Array:
        """Return the moment at which what has arrived can be decoded.

        Args:
          finish_times: ``[W]`` seconds; infinite for a worker that never arrives.

        Returns:
          float32, shape (); infinite if it never can. For a repetition code the last of
          the first holders, for a linear code the ``threshold``-th worker.

        Raises:
          ValueError: If ``finish_times`` is not of shape [W].
        """
        if self.coefficients is not None and self.threshold is not None:
            return jnp.sort(self._times(finish_times))[self.threshold - 1]
        return jnp.max(self.first_holders(finish_times).time)

    def inclusion(self, num_arrivals: int) -> np.ndarray:
        r"""Return the probability that each block is among what has arrived.

        .. math:: \pi_b = 1 - \binom{W - h_b}{k} \Big/ \binom{W}{k}

        for :math:`h_b` holders, all sets of :math:`k` workers being equally likely.

        Args:
          num_arrivals: :math:`k`, workers that have arrived, in [0, W].

        Returns:
          float64 ``[B]``, no unit.

        Raises:
          ValueError: If ``num_arrivals`` is out of range.
        """
        k = _checks.integer("num_arrivals", num_arrivals, 0, self.num_workers)
        sets = math.comb(self.num_workers, k)
        without = [
            math.comb(self.num_workers - int(holders), k)
            for holders in self.placement.sum(axis=0)
        ]
        return np.array([(sets - number) / sets for number in without])

    def approximate(self, arrived: Any, num_arrivals: int) -> jax.Array:
        """Return weights that make a sum without bias of any so many workers.

        The server waits for a fixed number of workers, not for all blocks. A block that
        has arrived counts for its probability to arrive (Horvitz and Thompson), so the
        sum is right on average over sets of workers that are equally likely.

        Args:
          arrived: bool ``[W]``, ``num_arrivals`` of them true.
          num_arrivals: Workers that the server waits for, in [1, W].

        Returns:
          float32 ``[W, B]``: the weights of :meth:`decode` divided by
          :meth:`inclusion`.

        Raises:
          ValueError: If ``num_arrivals`` is out of range, if a block has no holder, or
            for a linear code, whose messages mean nothing below its threshold.
        """
        self._needs_blocks("approximate")
        k = _checks.integer("num_arrivals", num_arrivals, 1, self.num_workers)
        if not self.covers:
            raise ValueError(
                f"`approximate` needs a code that covers every block, got {self.name}: "
                "a block without a holder never arrives, which no weight can balance."
            )
        share = jnp.asarray(self.inclusion(k), jnp.float32)
        return self.decode(arrived).weights / share[None]

    def _times(self, finish_times):
        """Return float32 times; what is no number never arrives."""
        times = self._of_workers("finish_times", finish_times).astype(jnp.float32)
        return jnp.where(jnp.isnan(times), jnp.inf, times)

    def _of_workers(self, name, value):
        """Return the array, or raise unless it has one element for each worker."""
        array = _checks.array(name, value)
        if array.shape != (self.num_workers,):
            raise ValueError(
                f"`{name}` must be of shape ({self.num_workers},) for {self.name}, "
                f"got {array.shape}."
            )
        return array

    def _needs_blocks(self, method):
        if self.coefficients is not None:
            raise ValueError(
                f"`{method}` needs a repetition code, whose messages are sums of "
                f"single blocks, got the linear code {self.name}."
            )


def _check_placement(placement, block_sizes):
    """Raise unless placement and sizes are arrays that fit each other."""
    is_table = isinstance(placement, np.ndarray) and placement.dtype == bool
    if not is_table or placement.ndim != 2 or not placement.size:
        raise ValueError(
            f"`placement` must be a bool NumPy array [W, B], got {placement!r}."
        )
    is_count = isinstance(block_sizes, np.ndarray) and block_sizes.dtype.kind in "iu"
    fits = is_count and block_sizes.shape == placement.shape[1:]
    if not fits or block_sizes.min() < 1:
        raise ValueError(
            "`block_sizes` must be an integer NumPy array of shape "
            f"{placement.shape[1:]}, each at least 1, got {block_sizes!r}."
        )


def _check_coefficients(code):
    """Raise unless a linear code can be decoded of all its workers."""
    table = code.coefficients
    is_real = isinstance(table, np.ndarray) and table.dtype.kind == "f"
    if not is_real or table.shape != code.placement.shape:
        raise ValueError(
            "`coefficients` must be a floating NumPy array of shape "
            f"{code.placement.shape}, got {table!r}."
        )
    if np.any(table[~code.placement]):
        raise ValueError(
            "`coefficients` must be 0 where `placement` is False, got workers of "
            f"{code.name} that combine blocks which they do not hold."
        )
    if code.threshold is None:
        raise ValueError(
            f"`threshold` of the linear code {code.name} must be an integer, got None."
        )
    weights, _ = code._solutions
    if not np.allclose(weights @ table, 1, rtol=0, atol=_ROUNDING):
        raise ValueError(
            "`coefficients` of all workers must combine to ones, got those of "
            f"{code.name}, which do not."
        )
