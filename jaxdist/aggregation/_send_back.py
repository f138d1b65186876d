"""Send back: workers gather each other's parts of the result, compressed on the way."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxdist import _tree
from jaxdist.aggregation import _leaf_plan, _merge, _transport, _workers


def join_parts(
    merged: Sequence[jax.Array],
    plans: Sequence[_leaf_plan.LeafPlan],
    states: Sequence[Any],
    estimates: Sequence[Any],
    key: jax.Array,
    workers: _workers.Workers,
) -> tuple[list[jax.Array], list[Any], list[Any]]:
    """Join the parts of all workers to whole leaves.

    A worker that is absent still owns its parts of the leaves: all send theirs.

    Args:
      merged: Each leaf flat, or on the route scatter my part of it.
      plans: Of the same leaves.
      states: Of the downlink's compressor, for the same leaves.
      estimates: Of all workers' parts, where the downlink is incremental.
      key: The same on all workers.
      workers: Who takes part.

    Returns:
      The leaves, equal on all workers, the new states and the new estimates.
    """
    leaves, states, estimates = list(merged), list(states), list(estimates)
    scattered = [i for i, plan in enumerate(plans) if plan.route.has_parts]
    owners = workers._replace(weight=None)
    downlinks = [plans[i].on_downlink for i in scattered]
    parts = [merged[i].astype(plans[i].like.dtype) for i in scattered]
    before = [states[i] for i in scattered]
    outgoing, after = _transport.encode_leaves(downlinks, parts, before, key, owners)
    arrived = _transport.travel(outgoing, owners)
    for i, item, state in zip(scattered, arrived, after, strict=True):
        leaves[i] = _merge.decode_rows(item, estimates[i], owners)
        states[i] = state
        (estimates[i],) = _merge.new_estimates([item], [estimates[i]], [leaves[i]])
    whole = [
        _tree.from_blocks(leaf, plan.like)
        for leaf, plan in zip(leaves, plans, strict=True)
    ]
    return whole, states, estimates
