"""Receivers' memory: what all workers hold of the leaves, and each of its parts.

The receivers of an incremental compressor (EF21) add up what they get: the mean of the
sums for `mean`, one sum for each sender for other rules, and under the route scatter
only a worker's own part of each, so that W estimates take the memory of one gradient.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _tree
from jaxdist.aggregation import _leaf_plan
from jaxdist.compression import _per_leaf
from jaxdist.workers import _worker_state


class EstimateState(NamedTuple):
    """What receivers remember of incremental compressors; ``()`` for all others.

    One estimate where only the mean is needed, else one for each of W senders.
    """

    whole: Any  # tree of [d] or [W, d]: routes psum and gather; equal on all workers
    part: _worker_state.PerWorkerState  # tree of [d/W] or [W, d/W]: scatter; varies
    downlink: Any  # tree of [W, d/W]: of the way back; equal on all workers


class Held(NamedTuple):
    """One value for each leaf, sorted by who holds it; ``()`` elsewhere."""

    whole: Any  # tree: equal on all workers
    part: _worker_state.PerWorkerState  # tree: of each worker's part; varies


def zeros_like_leaf(like: Any, plan: _leaf_plan.LeafPlan) -> Any:
    """Return zeros that are sharded as their leaf is, or ``()`` for ``()``."""
    if like == ():
        return ()
    return _collectives.to_varying(jnp.zeros(like.shape, like.dtype), plan.other_axes)


def hold_nothing(treedef: Any) -> Held:
    """Return what is held where nothing has to be."""
    empty = treedef.unflatten([()] * treedef.num_leaves)
    return Held(empty, _worker_state.PerWorkerState(empty))


def sort_by_holder(
    plans: Sequence[_leaf_plan.LeafPlan],
    values: Sequence[Any],
    treedef: Any,
    axis_name: _collectives.AxisName,
) -> Held:
    """Sort one value for each leaf by who holds it."""
    pairs = [
        (plan.route.has_parts, value) for plan, value in zip(plans, values, strict=True)
    ]
    whole = [() if is_part else value for is_part, value in pairs]
    part = [value if is_part else () for is_part, value in pairs]
    return Held(
        treedef.unflatten(whole),
        _worker_state.attach_axis(treedef.unflatten(part), axis_name),
    )


def values_of_leaves(
    plans: Sequence[_leaf_plan.LeafPlan], likes: Sequence[Any], held: Held
) -> list[Any]:
    """Invert :func:`sort_by_holder`: return the value of each leaf, or ``()``."""
    names = [plan.name for plan in plans]

    def find(tree, is_part):
        wanted = [
            like if plan.route.has_parts == is_part else ()
            for like, plan in zip(likes, plans, strict=True)
        ]
        return _per_leaf.find_arrays(names, wanted, tree)

    whole = find(held.whole, False)
    part = find(_worker_state.detach_axis(held.part), True)
    return [
        part[i] if plan.route.has_parts else whole[i] for i, plan in enumerate(plans)
    ]


def init_estimates(
    plans: Sequence[_leaf_plan.LeafPlan], treedef: Any, axis_name: Any
) -> EstimateState:
    """Return zeros wherever the receivers of a leaf must remember."""
    up = [zeros_like_leaf(plan.estimate, plan) for plan in plans]
    down = [zeros_like_leaf(plan.downlink_estimate, plan) for plan in plans]
    return store_estimates(plans, up, down, treedef, axis_name)


def no_estimates(treedef: Any) -> EstimateState:
    """Return the state of receivers that remember nothing."""
    held = hold_nothing(treedef)
    return EstimateState(*held, held.whole)


def store_estimates(
    plans: Sequence[_leaf_plan.LeafPlan],
    up: Sequence[Any],
    down: Sequence[Any],
    treedef: Any,
    axis_name: _collectives.AxisName,
) -> EstimateState:
    """Return the state that remembers these estimates of both ways."""
    held = sort_by_holder(plans, up, treedef, axis_name)
    return EstimateState(*held, treedef.unflatten(down))


def load_estimates(
    plans: Sequence[_leaf_plan.LeafPlan], state: EstimateState
) -> tuple[list[Any], list[Any]]:
    """Return the estimates of the way there and of the way back, leaf by leaf."""
    held = Held(state.whole, state.part)
    up = values_of_leaves(plans, [plan.estimate for plan in plans], held)
    likes = [plan.downlink_estimate for plan in plans]
    names = [plan.name for plan in plans]
    return up, _per_leaf.find_arrays(names, likes, state.downlink)


def needs_memory(compressors: Sequence[Any], params: Any) -> bool:
    """Whether any leaf gets an incremental compressor."""
    names, leaves, _ = _tree.flatten_named(params)
    return any(
        _per_leaf.select_compressor(compressor, name, leaf).incremental
        for compressor in compressors
        if compressor is not None
        for name, leaf in zip(names, leaves, strict=True)
    )


def keep_while_absent(state: Any, before: Any, is_there: jax.Array | bool) -> Any:
    """Return the state, or the one before where nobody was there to change it."""
    if is_there is True:
        return state
    return jax.tree.map(lambda new, old: jnp.where(is_there, new, old), state, before)
