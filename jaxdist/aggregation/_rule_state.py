"""What the rule of an aggregation remembers from step to step."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import (
    _aggregation_metrics,
    _leaf_plan,
    _merge,
    _receiver_memory,
    _workers,
)
from jaxdist.rules import _rule
from jaxdist.workers import _number, _worker_state


class RuleState(NamedTuple):
    """What the rule of :func:`aggregate` remembers."""

    memory: Any  # its own; equal on all workers
    whole: Any  # tree of [d]: last result, routes psum and gather; equal on all workers
    part: _worker_state.PerWorkerState  # tree of [d/W]: last result, scatter; varies
    num_nonfinite: jax.Array  # int32, shape (): workers that were not finite
    num_absent: jax.Array  # int32, shape (): workers that had the weight 0
    metrics: Any  # AggregationMetrics, equal on all workers; () when not asked for


def init_rule_state(
    plan_leaves: Callable[..., list[_leaf_plan.LeafPlan]],
    rule: _rule.AggregationRule,
    metrics: bool,
    params: Any,
    axis_name: _collectives.AxisName,
) -> RuleState:
    """Return the state before the first step: the last result was 0."""
    names, leaves, treedef = _tree.flatten_named(params)
    num_workers = _number_of_workers(rule, metrics, leaves, axis_name)
    held = _receiver_memory.hold_nothing(treedef)
    if leaves and rule.keeps_previous:
        plans = plan_leaves(names, leaves)
        zeros = [
            _receiver_memory.zeros_like_leaf(like, plan)
            for like, plan in zip(_previous_likes(plans), plans, strict=True)
        ]
        held = _receiver_memory.sort_by_holder(plans, zeros, treedef, axis_name)
    nobody = jnp.zeros((), jnp.int32)
    noted = _aggregation_metrics.zero_metrics(num_workers) if metrics else ()
    return RuleState(rule.init(num_workers), *held, nobody, nobody, noted)


def next_rule_state(
    plans: Sequence[_leaf_plan.LeafPlan],
    rule: _rule.AggregationRule,
    metrics: bool,
    merged: _merge.Merged,
    treedef: Any,
    extent: _merge.Extent,
) -> RuleState:
    """Return the state after a step."""
    workers, applied = extent.workers, merged.applied
    previous = [
        leaf.astype(plan.decoded.dtype) if rule.keeps_previous else ()
        for plan, leaf in zip(plans, merged.leaves, strict=True)
    ]
    axis_name = workers.axis_name
    return RuleState(
        applied.memory,
        *_receiver_memory.sort_by_holder(plans, previous, treedef, axis_name),
        _total_of_groups(applied.num_nonfinite, axis_name),
        _total_of_groups(workers.num_absent, axis_name),
        _aggregation_metrics.measure_rule(merged.parts, applied, rule, extent)
        if metrics
        else (),
    )


def _total_of_groups(count, axis_name):
    """Return the count of all groups of workers, such as pods, that aggregate alone."""
    groups = _collectives.other_axes(count, axis_name)
    if not groups:
        return count
    with _traffic.contents([_traffic.Content("(counts)", _tree.leaf_nbytes(count))]):
        return _collectives.psum(count, groups)


def anchors_of_leaves(
    plans: Sequence[_leaf_plan.LeafPlan],
    rule: _rule.AggregationRule,
    state: RuleState,
    reference: Any,
    workers: _workers.Workers,
) -> list[Any]:
    """Return my part of the anchor of each leaf, flat; None where none is given."""
    if rule.takes_reference:
        me = workers.index
        _, leaves, _ = _tree.flatten_named(reference)
        return [
            _tree.to_blocks(leaf, plan.blocks)[me if plan.blocks > 1 else 0]
            for plan, leaf in zip(plans, leaves, strict=True)
        ]
    if rule.keeps_previous:
        held = _receiver_memory.Held(state.whole, state.part)
        return _receiver_memory.values_of_leaves(plans, _previous_likes(plans), held)
    return [None] * len(plans)


def _previous_likes(plans):
    """Return what a worker remembers of the last result for each leaf."""
    return [
        jax.ShapeDtypeStruct((plan.decoded.size,), plan.decoded.dtype) for plan in plans
    ]


def checked_reference(rule: _rule.AggregationRule, reference: Any, updates: Any) -> Any:
    """Return the reference like the updates, or None for rules without; or raise."""
    if not rule.takes_reference:
        return None
    if reference is None:
        raise ValueError(
            f"`reference` must be the gradient with which {rule.name} compares all "
            "workers, got None: call tx.update(updates, state, params, reference=...)."
        )
    names, leaves, treedef = _tree.flatten_named(updates)
    if jax.tree.structure(reference) != treedef:
        raise ValueError("`reference` must have the structure of `updates`.")
    for name, leaf, like in zip(names, jax.tree.leaves(reference), leaves, strict=True):
        if leaf.shape != like.shape:
            raise ValueError(
                f"`reference` must have the shapes of `updates`, but leaf {name!r} has "
                f"{leaf.shape} instead of {like.shape}."
            )
    return reference


def _number_of_workers(rule, metrics, leaves, axis_name):
    """Return W, or say how to make a state whose shape depends on it."""
    is_needed = metrics or rule.keeps_previous or rule.init is not _rule.no_memory
    # optax.tree_map_params asks for the structure of a state without any leaf.
    if not is_needed or (not leaves and not _collectives.is_bound(axis_name)):
        return 1
    why = (
        f"The state of {rule.name} holds something for each worker or its part of a "
        "leaf"
    )
    with _number.wanted_number(why):
        return _collectives.axis_size(axis_name)
