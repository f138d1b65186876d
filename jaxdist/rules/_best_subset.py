"""Best subset: the mean of the W - f workers that are best together."""

from collections.abc import Callable

import jax

from jaxdist.geometry import _geometry
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _subsets


def best_subset(
    name: str,
    num_byzantine: int,
    best: Callable[[_geometry.Geometry], jax.Array],
    kappa: Callable[[int, int], float],
) -> _rule.AggregationRule:
    """Return the rule that averages one subset.

    Args:
      name: How reports and errors call it.
      num_byzantine: How many are left out.
      best: ``(geometry) -> number`` of the subset.
      kappa: The constant that is proved.
    """

    def mix(geometry, key, memory):
        del key
        return _subsets.weights_of(best(geometry), geometry, num_byzantine), memory

    return _rule.AggregationRule(
        name,
        mix=mix,
        contract=_rule.RuleContract(
            _rule.constant_count(num_byzantine),
            kappa=lambda num_workers, _: kappa(num_workers, num_byzantine),
            knows_absent=True,
        ),
        requires=lambda num_workers: _subsets.check_number(
            name, num_byzantine, num_workers
        ),
    )


def kappa_of_spread(num_workers: int, num_byzantine: int) -> float:
    """Return what is proved of the subset with the least variance in some sense."""
    return 4 * num_byzantine / (num_workers - 2 * num_byzantine)
