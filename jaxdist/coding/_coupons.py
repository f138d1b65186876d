"""Coupons: how many workers it takes until each block was drawn."""

from collections.abc import Sequence

import numpy as np

from jaxdist import _checks
from jaxdist.coding import _placement


def expected_arrivals(num_blocks: int) -> float:
    r"""Return how many workers the server of :func:`batched_coupons` needs on average.

    .. math:: E[K] = B \sum_{k=1}^B 1/k

    Args:
      num_blocks: :math:`B`, at least 1.

    Returns:
      Workers that arrive until each block was drawn, out of as many as it takes. Of W
      workers some placements never cover (:func:`cover_probability`).

    Raises:
      ValueError: If ``num_blocks`` is out of range.

    Communication:
      None.

    Example:
      >>> print(round(jaxdist.coding.expected_arrivals(10), 4))
      29.2897
    """
    num_blocks = _checks.integer("num_blocks", num_blocks, 1)
    return float(num_blocks * np.sum(1 / np.arange(1, num_blocks + 1)))


def variance_of_arrivals(num_blocks: int) -> float:
    r"""Return how much the number of workers varies that the server needs.

    .. math:: \mathrm{Var}[K] = \sum_{k=1}^B \left(\frac{B^2}{k^2} - \frac{B}{k}\right)

    Args:
      num_blocks: :math:`B`, at least 1.

    Returns:
      The variance, in workers squared, of what :func:`expected_arrivals` is the mean.

    Raises:
      ValueError: If ``num_blocks`` is out of range.

    Communication:
      None.

    Example:
      >>> print(round(jaxdist.coding.variance_of_arrivals(5), 3))
      25.174
    """
    num_blocks = _checks.integer("num_blocks", num_blocks, 1)
    waits = num_blocks / np.arange(1, num_blocks + 1)
    return float(np.sum(waits**2 - waits))


def cover_probability(
    num_workers: int, num_blocks: int, loads: int | Sequence[int] | np.ndarray = 1
) -> float:
    r"""Return the probability that random placements leave no block out.

    .. math:: P = \sum_{k=0}^B (-1)^k \binom{B}{k} (1 - k/B)^W

    for loads of 1. Terms of this sum cancel for many blocks; here the number of blocks
    that are covered is followed worker by worker, and nothing is subtracted.

    Args:
      num_workers: W, at least 1.
      num_blocks: :math:`B`, at least 1.
      loads: Different blocks that each worker draws, in [1, B]; one for all, or
        ``[W]``. 1 for :func:`batched_coupons`, those of :func:`random_units` otherwise.

    Returns:
      A probability, after :math:`O(B \sum_i r_i)` operations.

    Raises:
      ValueError: If an argument is out of range.

    Communication:
      None.

    Example:
      >>> print(f"{1 - jaxdist.coding.cover_probability(50, 5):.1e}")
      7.1e-05
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    num_blocks = _checks.integer("num_blocks", num_blocks, 1)
    counts = _placement.worker_loads(
        loads if np.ndim(loads) else [loads] * num_workers, num_blocks
    )
    if len(counts) != num_workers:
        raise ValueError(
            f"`loads` must be one number or {num_workers}, got {len(counts)}."
        )
    logs = np.log(np.arange(1, num_blocks + 1))
    log_factorial = np.concatenate([[0.0], np.cumsum(logs)])
    share = np.zeros(num_blocks + 1)  # probability that so many blocks are covered
    share[0] = 1
    for load in counts:
        share = _after_one_worker(share, int(load), log_factorial)
    return float(min(share[-1], 1.0))


def _after_one_worker(share, load, log_factorial):
    """Return the probabilities of covered blocks after one more worker."""
    num_blocks = len(share) - 1

    def log_choices(of, number):
        return log_factorial[of] - log_factorial[number] - log_factorial[of - number]

    after = np.zeros_like(share)
    for new in range(load + 1):
        # So many blocks may be covered before: the other draws must find room there.
        before = np.arange(load - new, num_blocks - new + 1)
        logs = log_choices(num_blocks - before, new) + log_choices(before, load - new)
        chance = np.exp(logs - log_choices(num_blocks, load))
        after[before + new] += share[before] * chance
    return after
