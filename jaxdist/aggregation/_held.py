"""Held: what all workers hold of the leaves, and what each holds of its parts."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxdist import _collectives, _worker_state
from jaxdist.aggregation import _plan
from jaxdist.compression import _per_leaf


def zeros(like: Any, plan: _plan.LeafPlan) -> Any:
    """Return zeros that are sharded as their leaf is, or ``()`` for ``()``."""
    if like == ():
        return ()
    return _collectives.to_varying(jnp.zeros(like.shape, like.dtype), plan.other_axes)


def nothing(treedef: Any) -> tuple[Any, _worker_state.PerWorkerState]:
    """Return what is held where nothing has to be."""
    empty = treedef.unflatten([()] * treedef.num_leaves)
    return empty, _worker_state.PerWorkerState(empty)


def by_holder(
    plans: Sequence[_plan.LeafPlan], values: Sequence[Any], treedef: Any, axis_name: Any
) -> tuple[Any, _worker_state.PerWorkerState]:
    """Sort one value for each leaf by who holds it; ``()`` elsewhere."""
    pairs = [
        (plan.route == "scatter", value)
        for plan, value in zip(plans, values, strict=True)
    ]
    whole = [() if is_part else value for is_part, value in pairs]
    part = [value if is_part else () for is_part, value in pairs]
    return (
        treedef.unflatten(whole),
        _worker_state.attach_axis(treedef.unflatten(part), axis_name),
    )


def of_leaves(
    plans: Sequence[_plan.LeafPlan],
    likes: Sequence[Any],
    names: Sequence[str],
    whole: Any,
    part: _worker_state.PerWorkerState,
) -> list[Any]:
    """Invert :func:`by_holder`: return the value of each leaf, or ``()``."""

    def find(tree, is_part):
        wanted = [
            like if (plan.route == "scatter") == is_part else ()
            for like, plan in zip(likes, plans, strict=True)
        ]
        return _per_leaf.find_arrays(names, wanted, tree)

    found = zip(
        plans,
        find(whole, False),
        find(_worker_state.detach_axis(part), True),
        strict=True,
    )
    return [p if plan.route == "scatter" else w for plan, w, p in found]
