"""Meeting: what an aggregation cannot remember where only some workers meet.

In simulated time K of W workers meet in an update, each time others. A place among the
K belongs to another worker in every update, and a part of a leaf is one of K and not
of W. So what receivers know of all W senders, and what a worker keeps for its part of a
leaf, would be that of somebody else.
"""

from typing import Any, NamedTuple

import jax

from jaxdist import _collectives
from jaxdist.rules import _rule
from jaxdist.workers import _arrival


class _Bound(NamedTuple):
    """Something that may be bound to the place of a worker."""

    held: Any  # a tree with leaves where it is
    what: str  # a sentence without its end
    way_out: str


def check_meeting(
    arrival: _arrival.Arrival | None,
    axis_name: _collectives.AxisName,
    rule: _rule.AggregationRule,
    state: Any,
) -> None:
    """Raise where not all workers meet, and something is bound to a worker's place.

    Args:
      arrival: What ``tx.update`` got as ``arrival=``, or None.
      axis_name: Of the workers that meet.
      rule: How they become one.
      state: Of the aggregation.
    """
    if _arrival.meets_everybody(arrival, axis_name):
        return
    for bound in _bound_to_places(rule, state):
        if jax.tree.leaves(bound.held):
            raise ValueError(
                f"{bound.what}, but here not all workers meet in one update. "
                f"{bound.way_out}"
            )


def _bound_to_places(rule: _rule.AggregationRule, state: Any) -> list[_Bound]:
    """Return all that may be bound to places."""
    return [
        _Bound(
            rule.trusted_worker,
            f"`rule` {rule.name} trusts a worker by its place",
            "Take a rule that trusts nobody, such as multi_krum, or one with a "
            "reference gradient, such as fltrust.",
        ),
        _Bound(
            state.estimates,
            "`compressor` is incremental: receivers add up what all workers send",
            "Take error_feedback, which remembers at the sender alone.",
        ),
        _Bound(
            state.downlink,
            "shard_optimizer, and a `downlink` with a state, keep something for the "
            "part of a leaf that belongs to a worker's place",
            "Take aggregate(...) before the optimizer, or a downlink without a state.",
        ),
        _Bound(
            state.rule.part,
            f"`rule` {rule.name} remembers the part of its last result that belongs to "
            "a worker's place",
            "Take route='gather', where each worker remembers all of it.",
        ),
    ]
