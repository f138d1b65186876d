"""Around a centre: the mean of the values nearest to it, coordinate by coordinate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdist.rules import _rule
from jaxdist.rules.numerics import _present, _sorting

CentreOf = Callable[[list[jax.Array], jax.Array], jax.Array]
CentreOfPresent = Callable[[_present.Present], jax.Array]


def mean_around(
    name: str,
    num_byzantine: int,
    centre_of: CentreOf,
    centre_of_present: CentreOfPresent,
) -> _rule.AggregationRule:
    """Return the rule that averages the W - f values nearest to a centre.

    Args:
      name: How reports and errors call it.
      num_byzantine: f, how many are left out; values that are not finite go first.
      centre_of: ``(sorted rows, how many are not finite) -> centre``, equivariant to
        translation.
      centre_of_present: The same of the rows that are not absent.
    """

    def reduce(rows):
        ordered, num_bad = _sorting.sort_finite(rows, num_byzantine)

        def centre(moved):
            return centre_of(moved, num_bad)

        number = rows.shape[0] - num_byzantine
        nearest = _sorting.mean_of_nearest(ordered, centre, number)
        return jnp.where(num_bad <= num_byzantine, nearest, 0)

    def reduce_weighted(rows, weight):
        values = _present.sort_present(rows, weight, few=0)
        nearest = _present.mean_of_nearest_present(
            values, num_byzantine, centre_of_present
        )
        return jnp.where(values.num_bad <= num_byzantine, nearest, 0)

    contract = _rule.RuleContract(
        _rule.constant_count(num_byzantine), knows_absent=True
    )
    return _rule.AggregationRule(
        name,
        _present.any_number(reduce, reduce_weighted),
        contract=contract,
        needs_aligned=True,
        reduce_weighted=reduce_weighted,
    )
