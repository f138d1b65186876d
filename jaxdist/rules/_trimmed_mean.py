"""Trimmed mean: the average of each coordinate without its extremes."""

import math

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _present, _sorting


def trimmed_mean(
    num_byzantine: int | None = None, *, fraction: float | None = None
) -> _rule.AggregationRule:
    r"""Drop the ``num_byzantine`` largest and smallest of each coordinate, average.

    .. math:: F(x_1, \dots, x_W)_j = \frac{1}{W - 2f} \sum_{i=f+1}^{W-f} x_{(i)j}

    Values that are not finite count as dropped, coordinate by coordinate: with
    :math:`q \le f` of them, :math:`f - q` more are dropped at either end. With more
    than :math:`f` the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].
      fraction: :math:`\beta` in [0, 0.5) instead, for
        :math:`f = \lceil \beta W \rceil`: never rounded to 0.

    Returns:
      A rule equivariant to translation and to scaling of each coordinate, with
      :math:`\kappa = f/(W - 2f)`. No rule has a smaller constant, and those of the
      papers are larger. A coordinate moves farthest when all attackers lie beyond one
      end. The result then averages all honest workers but the :math:`f` at the other
      end.

    Raises:
      ValueError: If not exactly one of both is given, if ``num_byzantine`` is negative
        or ``fraction`` outside [0, 0.5); when applied, if :math:`f` is too large for
        the number of workers.

    Communication:
      None beyond the route.

    Example:
      >>> rule = jaxdist.rules.trimmed_mean(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [4.0], [1000.0]])))
      [3.]

    References:
      Yin et al., `Byzantine-Robust Distributed Learning: Towards Optimal Statistical
      Rates <https://arxiv.org/abs/1803.01498>`_, 2018, Option II, with the fraction.
      Allouah et al., `Fixing by Mixing <https://arxiv.org/abs/2302.01772>`_, 2023, with
      the lower bound on all rules.
    """
    name, num_trimmed = _trimmed_count(num_byzantine, fraction)

    def reduce(rows):
        f = num_trimmed(rows.shape[0])
        cut = _sorting.cut_finite(rows, f)
        number = rows.shape[0] - 2 * f + cut.num_bad
        mean = _sorting.kept_total(cut) / number.astype(rows.dtype)
        return jnp.where(cut.num_bad <= f, mean, 0)

    def reduce_weighted(rows, weight):
        values = _present.sort_present(rows, weight)
        f = _rule.count_table(num_trimmed, rows.shape[0])[values.num_rows]
        mean = _present.trimmed_mean_of_present(values, f)
        return jnp.where(values.num_bad <= f, mean, 0)

    def kappa(num_workers, _):
        f = num_trimmed(num_workers)
        return f / (num_workers - 2 * f)

    contract = _rule.RuleContract(
        num_trimmed, kappa=kappa, in_hull=True, knows_absent=True
    )
    return _rule.AggregationRule(
        name,
        _present.any_number(reduce, reduce_weighted),
        contract=contract,
        needs_aligned=True,
        reduce_weighted=reduce_weighted,
    )


def _trimmed_count(num_byzantine, fraction):
    """Return the rule's name, and how many it trims of W."""
    if (num_byzantine is None) == (fraction is None):
        raise ValueError(
            "`num_byzantine` or `fraction` must be given, and not both: got "
            f"{num_byzantine!r} and {fraction!r}."
        )
    if fraction is None:
        count = _checks.integer("num_byzantine", num_byzantine, 0)
        return f"trimmed_mean({count})", _rule.constant_count(count)
    fraction = _checks.real("fraction", fraction, 0, 0.5, below=True, static=True)
    share = float(fraction)

    def rounded_up(num_workers):
        # First to the number that was meant: 0.07 * 100 is a little more than 7.
        return math.ceil(round(share * num_workers, 6))

    return f"trimmed_mean(fraction={share})", rounded_up
