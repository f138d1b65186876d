"""Median: the middle value of each coordinate."""

import jax.numpy as jnp

from jaxdist import _rule
from jaxdist.aggregation import _sorting


def median() -> _rule.AggregationRule:
    r"""Take the coordinate-wise median; the mean of the two middles for even W.

    .. math:: F(x_1, \dots, x_W)_j = \mathrm{median}(x_{1j}, \dots, x_{Wj})

    Values that are not finite are left out, coordinate by coordinate. Where half the
    workers or more are not finite the result is 0.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers. It is equivariant to
      translation and to positive and negative scaling of each coordinate.

    Communication:
      None beyond the route.

    Example:
      >>> print(jaxdist.median()(jnp.array([[1.0], [2.0], [1000.0]])))
      [2.]

    References:
      Yin et al., `Byzantine-Robust Distributed Learning: Towards Optimal Statistical
      Rates <https://arxiv.org/abs/1803.01498>`_, 2018, Option I.
    """
    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2, kappa=_kappa, in_hull=True
    )
    return _rule.AggregationRule(
        "median()", _median, contract=contract, needs_aligned=True
    )


def _median(rows):
    num_workers = rows.shape[0]
    ordered, num_bad = _sorting.sort_finite(rows)
    num_good = num_workers - num_bad
    lower, upper = (num_good - 1) // 2, num_good // 2
    middles = jnp.zeros_like(rows[0])
    for i in range(num_workers // 2 + 1):
        times = (lower == i).astype(rows.dtype) + (upper == i).astype(rows.dtype)
        middles += jnp.where(times > 0, times * ordered[i], 0)
    return jnp.where(2 * num_bad < num_workers, middles / 2, 0)


def _kappa(num_workers, num_byzantine):
    """Return the constant of Allouah et al., 2023, Table 1."""
    return 4 * ((num_workers - num_byzantine) / (num_workers - 2 * num_byzantine)) ** 2
