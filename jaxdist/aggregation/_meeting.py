"""Meeting: what an aggregation cannot remember where only some workers meet.

In simulated time K of W workers meet in an update, each time others, so that a place
among the K belongs to another worker in every update. What receivers know of all W
senders would then be that of somebody else. What is kept for parts of leaves is not:
parts belong to places, and all who meet hold them together.
"""

from typing import Any

import jax

from jaxdist import _collectives
from jaxdist.rules import _rule
from jaxdist.workers import _arrival


def check_meeting(
    arrival: _arrival.Arrival | None,
    axis_name: _collectives.AxisName,
    rule: _rule.AggregationRule,
    estimates: Any,
) -> None:
    """Raise where not all workers meet, and a place is taken for a worker.

    Args:
      arrival: What ``tx.update`` got as ``arrival=``, or None.
      axis_name: Of the workers that meet.
      rule: How they become one.
      estimates: What receivers remember, an ``EstimateState``.
    """
    if _arrival.meets_everybody(arrival):
        return
    if rule.needs_everybody:
        raise ValueError(
            f"`rule` {rule.name} means workers by their index, but here not all "
            "workers meet in one update. Take a rule that treats all alike, such as "
            "multi_krum, or one with a reference gradient, such as fltrust."
        )
    if jax.tree.leaves((estimates.whole, estimates.part)):
        raise ValueError(
            "`compressor` is incremental: receivers add up what all workers send, but "
            "here not all workers meet in one update. Take error_feedback, which "
            "remembers at the sender alone."
        )
