"""Mean: the average of all workers."""

import functools
import math
import operator
from collections.abc import Iterable, Sequence

import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.rules import _rule

_MAJORITY = 0.5  # a worker with a larger share could do what it likes


def mean(
    weights: Sequence[float] | None = None, *, max_share: float | None = None
) -> _rule.AggregationRule:
    r"""Average the contributions, equally or with weights.

    .. math:: F(x_1, \dots, x_W) = \frac{\sum_i w_i x_i}{\sum_i w_i}

    Args:
      weights: :math:`w_i \ge 0`, one for each worker, such as its number of examples;
        static, no unit. All equal when None. A worker of weight 0 is not looked at.
      max_share: The largest :math:`w_i / \sum_j w_j` that is accepted, in (0, 1]; 1/2
        when None. What a worker says of itself must not buy it more.

    Returns:
      A rule that tolerates no Byzantine worker. One NaN makes the result NaN. It is
      linear without weights.

    Raises:
      ValueError: If ``weights`` are not finite, negative or all 0, if one worker has
        more than ``max_share`` of them, or if ``max_share`` comes without weights;
        when applied, if there are not as many weights as workers.

    Communication:
      Without weights the only rule for which payloads may be summed on their way
      (route psum). With weights none beyond the route.

    Example:
      >>> print(jaxdist.rules.mean()(jnp.array([[1.0], [3.0]])))
      [2.]
      >>> print(jaxdist.rules.mean(weights=[1, 1, 2])(jnp.array([[1.0], [3.0], [4.0]])))
      [3.]
    """
    if weights is None:
        if max_share is not None:
            raise ValueError(
                f"`max_share` bounds `weights`, and there are none; got {max_share!r}."
            )
        contract = _rule.RuleContract(knows_absent=True, weighs=True)
        return _rule.AggregationRule(
            "mean()", _mean_of_rows, contract=contract, linear=True
        )
    shares = _checked_shares(weights, _MAJORITY if max_share is None else max_share)

    def requires(num_workers):
        if len(shares) != num_workers:
            raise ValueError(
                "`weights` must hold one number for each of the "
                f"{num_workers} workers, got {len(shares)}."
            )

    def reduce(rows):
        # A weight of zero does not silence a NaN.
        terms = [share * rows[i] for i, share in enumerate(shares) if share]
        return functools.reduce(operator.add, terms)

    def reduce_weighted(rows, weight):
        weighed = weight * jnp.asarray(shares, weight.dtype)
        usable = jnp.where(weighed[:, None] > 0, rows, 0)
        return _tree.sum_rows(_rule.mean_shares(weighed)[:, None] * usable)

    contract = _rule.RuleContract(knows_absent=True, weighs=True)
    return _rule.AggregationRule(
        "mean(weights)",
        reduce,
        contract=contract,
        requires=requires,
        reduce_weighted=reduce_weighted,
        needs_everybody=True,
    )


def _mean_of_rows(rows):
    return _tree.sum_rows(rows) / rows.shape[0]


def _checked_shares(weights, max_share):
    """Return the weights divided by their sum, or raise."""
    max_share = _checks.real("max_share", max_share, 0, 1, above=True, static=True)
    shares = []
    if isinstance(weights, str) or not isinstance(weights, Iterable):
        raise TypeError(
            f"`weights` must hold one number for each worker, got {weights!r}."
        )
    for i, weight in enumerate(weights):
        _checks.real(f"weights[{i}]", weight, 0)
        shares.append(float(weight))
    total = math.fsum(shares)
    if not 0 < total < math.inf:
        raise ValueError(
            f"`weights` must have a positive, finite sum, got one of {total}."
        )
    largest = max(shares)
    if largest > max_share * total:
        raise ValueError(
            f"`weights` must give no worker more than {max_share} of their sum, but "
            f"worker {shares.index(largest)} has {largest / total:.3g}. If that is "
            f"wanted, allow it with `max_share`."
        )
    return [share / total for share in shares]
