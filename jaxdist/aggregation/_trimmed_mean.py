"""Trimmed mean: the average of each coordinate without its extremes."""

import jax.numpy as jnp

from jaxdist import _checks, _rule
from jaxdist.aggregation import _sorting


def trimmed_mean(num_byzantine: int) -> _rule.AggregationRule:
    r"""Drop the ``num_byzantine`` largest and smallest of each coordinate, average.

    .. math:: F(x_1, \dots, x_W)_j = \frac{1}{W - 2f} \sum_{i=f+1}^{W-f} x_{(i)j}

    Values that are not finite count as dropped, coordinate by coordinate: with
    :math:`q \le f` of them, :math:`f - q` more are dropped at either end. With more
    than :math:`f` the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].

    Returns:
      A rule equivariant to translation and to scaling of each coordinate.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers.

    Communication:
      None beyond the route.

    Example:
      >>> rule = jaxdist.trimmed_mean(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [4.0], [1000.0]])))
      [3.]

    References:
      Yin et al., `Byzantine-Robust Distributed Learning: Towards Optimal Statistical
      Rates <https://arxiv.org/abs/1803.01498>`_, 2018, Option II. A count instead of
      the fraction :math:`\beta`, so that nothing is rounded to 0.
    """
    num_trimmed = _checks.integer("num_byzantine", num_byzantine, 0)
    name = f"trimmed_mean({num_trimmed})"

    def reduce(rows):
        num_workers = rows.shape[0]
        ordered, num_bad = _sorting.sort_finite(rows)
        total = jnp.zeros_like(rows[0])
        for i in range(num_workers - num_trimmed):
            # The bad ones, at the end, already are the first that are dropped there.
            total += jnp.where(i >= num_trimmed - num_bad, ordered[i], 0)
        count = (num_workers - 2 * num_trimmed + num_bad).astype(rows.dtype)
        return jnp.where(num_bad <= num_trimmed, total / count, 0)

    contract = _rule.RuleContract(_rule.always(num_trimmed), kappa=_kappa, in_hull=True)
    return _rule.AggregationRule(name, reduce, contract=contract, needs_aligned=True)


def _kappa(num_workers, num_byzantine):
    """Return the constant of Allouah et al., 2023, Table 1."""
    share = num_byzantine / (num_workers - 2 * num_byzantine)
    return 6 * share * (1 + share)
