"""Median: the middle value of each coordinate.

Values that are not finite are left out coordinate by coordinate. This needs no extra
message on the route scatter, and gives the same result on all routes.
"""

from typing import Literal

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _present, _sorting


def median(middle: Literal["mean", "lower"] = "mean") -> _rule.AggregationRule:
    r"""Take the coordinate-wise median.

    .. math:: F(x_1, \dots, x_W)_j = \mathrm{median}(x_{1j}, \dots, x_{Wj})

    Values that are not finite are left out, coordinate by coordinate. Where half the
    workers or more are not finite the result is 0.

    Args:
      middle: Of an even number of values: ``"mean"`` of the two middle ones, or
        ``"lower"``, the smaller of them, which is a value that a worker sent.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers. It is equivariant to
      translation and to positive scaling of each coordinate; with the mean also to
      negative. At least :math:`a = \lceil W/2 \rceil - f` honest workers lie on either
      side of the median, so that by Cantelli's inequality
      :math:`\kappa \le \lfloor W/2 \rfloor / a`. This is smaller than the constant of
      the papers.

    Raises:
      ValueError: If ``middle`` is unknown.

    Communication:
      None beyond the route.

    Example:
      >>> print(jaxdist.rules.median()(jnp.array([[1.0], [2.0], [1000.0]])))
      [2.]

    References:
      Yin et al., `Byzantine-Robust Distributed Learning: Towards Optimal Statistical
      Rates <https://arxiv.org/abs/1803.01498>`_, 2018, Option I.
    """
    _checks.one_of("middle", middle, ("mean", "lower"))
    is_lower = middle == "lower"

    def reduce(rows):
        lower, upper, num_bad = _sorting.middles_of_finite(rows)
        value = lower if is_lower else (lower + upper) / 2
        return jnp.where(2 * num_bad < rows.shape[0], value, 0)

    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2,
        kappa=_median_kappa,
        in_hull=True,
        knows_absent=True,
    )

    def reduce_weighted(rows, weight):
        values = _present.sort_present(rows, weight)
        lower, upper = _present.median_of_present(values)
        value = lower if is_lower else (lower + upper) / 2
        return jnp.where(2 * values.num_bad < values.num_rows, value, 0)

    return _rule.AggregationRule(
        "median('lower')" if is_lower else "median()",
        _present.any_number(reduce, reduce_weighted),
        contract=contract,
        needs_aligned=True,
        reduce_weighted=reduce_weighted,
    )


def _median_kappa(num_workers, num_byzantine):
    """Return the number that may lie beyond the median, per honest worker within."""
    return (num_workers // 2) / (-(-num_workers // 2) - num_byzantine)
