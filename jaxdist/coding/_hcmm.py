"""Loads for workers of different speed, so that most units come in the same time."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdist import _checks


class Allocation(NamedTuple):
    """Result of :func:`optimal_loads`."""

    loads: np.ndarray  # int [W], rounded, in [1, m]; units
    exact: np.ndarray  # float64 [W], before rounding; units
    time: float  # at which as many units as wanted have arrived on average; seconds


def optimal_loads(
    shifts: Sequence[float] | np.ndarray,
    rates: Sequence[float] | np.ndarray,
    num_units: int,
    total: float | None = None,
) -> Allocation:
    r"""Return how many units each worker should compute, given how fast it is.

    A worker of load :math:`r` takes :math:`a r` seconds, and a random time in addition,
    exponential with mean :math:`r / \mu`. Of all loads, these are the ones with which
    ``total`` units have arrived on average after the shortest time :math:`t`:

    .. math:: e^{\mu_i \lambda_i} = e^{a_i \mu_i} (\mu_i \lambda_i + 1), \qquad
       t = \frac{s}{\sum_i \mu_i / (1 + \mu_i \lambda_i)}, \qquad
       r_i = \frac{t}{\lambda_i}

    Args:
      shifts: :math:`a_i > 0`, seconds per unit that a worker takes at least, ``[W]``.
      rates: :math:`\mu_i > 0`, units per second of its random time, ``[W]``.
      num_units: :math:`m`, units of data, at least 1.
      total: :math:`s`, units that should have arrived, at least m; :math:`m \log m` by
        default. Placements of :func:`random_units` with these loads cover more often
        with a larger one, and take longer.

    Returns:
      Loads as integers for :func:`random_units`, the exact ones, and the time.

    Raises:
      ValueError: If an argument is out of range, or if shifts and rates are not one
        for each worker.

    Communication:
      None.

    Example:
      >>> plan = jaxdist.coding.optimal_loads([20.0] * 4, [1, 1, 1, 20], num_units=20)
      >>> print(plan.loads, round(plan.time, 1))
      [15 15 15 17] 346.0

    References:
      Reisizadeh et al., `Coded Computation over Heterogeneous Clusters
      <https://arxiv.org/abs/1701.05973>`_, 2017, and Li et al., `Near-Optimal Straggler
      Mitigation for Distributed Gradient Methods <https://arxiv.org/abs/1710.09990>`_,
      2017, which proves its bound for a larger total than :math:`m \log m`.
    """
    a = _positive_row("shifts", shifts)
    mu = _positive_row("rates", rates)
    if a.shape != mu.shape:
        raise ValueError(
            f"`rates` must be as many as `shifts`, {a.size}, got {mu.size}."
        )
    num_units = _checks.integer("num_units", num_units, 1)
    if total is None:
        total = max(num_units, num_units * math.log(num_units))
    total = float(_checks.real("total", total, num_units, static=True))
    waits = _best_waits(a * mu)  # mu * lambda
    time = total / float(np.sum(mu / (1 + waits)))
    exact = time * mu / waits
    loads = np.clip(np.rint(exact), 1, num_units).astype(int)
    return Allocation(loads, exact, time)


def _best_waits(shift: np.ndarray) -> np.ndarray:
    r"""Solve :math:`x - \log(1 + x) = c` for positive numbers.

    Newton's method, from an upper bound of the solution. The function is convex and
    grows, so each step ends above the solution, and none goes back.
    """
    x = np.sqrt(2 * shift) + shift
    for _ in range(50):  # a dozen are enough
        x = x - (x - np.log1p(x) - shift) * (1 + x) / x
    return x


def _positive_row(name: str, value: Any) -> np.ndarray:
    """Return float64 numbers ``[W]``, or raise unless they are positive and finite."""
    try:
        row = np.asarray(value)
    except (TypeError, ValueError):
        row = np.empty(0)
    is_row = row.ndim == 1 and row.size > 0 and row.dtype.kind in "iuf"
    if not is_row or not np.all(np.isfinite(row) & (row > 0)):
        raise ValueError(
            f"`{name}` must be a positive number for each worker, got {value!r}."
        )
    return row.astype(float)
