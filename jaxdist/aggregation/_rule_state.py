"""What the rule of an aggregation remembers from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _tree, _worker_state
from jaxdist.aggregation import _aggregation_metrics, _held, _plan
from jaxdist.rules import _rule


class RuleState(NamedTuple):
    """What the rule of :func:`aggregate` remembers."""

    memory: Any  # its own; equal on all workers
    whole: Any  # tree of [d]: last result, routes psum and gather; equal on all workers
    part: _worker_state.PerWorkerState  # tree of [d/W]: last result, scatter; varies
    num_nonfinite: jax.Array  # int32, shape (): workers that were not finite
    metrics: Any  # AggregationMetrics, equal on all workers; () when not asked for


def init(plan, rule, metrics, params, axis_name):
    """Return the state before the first step: the last result was 0."""
    names, leaves, treedef = _tree.flatten_named(params)
    num_workers = _size(rule, metrics, leaves, axis_name)
    held = _held.nothing(treedef)
    if leaves and rule.anchor == "previous":
        plans = plan(names, leaves)
        zeros = [_held.zeros(_plan.previous_like(item, rule), item) for item in plans]
        held = _held.by_holder(plans, zeros, treedef, axis_name)
    return RuleState(
        rule.init(num_workers),
        *held,
        jnp.zeros((), jnp.int32),
        _aggregation_metrics.zero_metrics(num_workers) if metrics else (),
    )


def after(plans, rule, metrics, merged, treedef, axes):
    """Return the state after a step."""
    verdict = merged.verdict
    keeps = rule.anchor == "previous"
    previous = [
        leaf.astype(plan.part.dtype) if keeps else ()
        for plan, leaf in zip(plans, merged.leaves, strict=True)
    ]
    return RuleState(
        verdict.memory,
        *_held.by_holder(plans, previous, treedef, axes.workers),
        _of_all_groups(verdict.num_nonfinite, axes.workers),
        _aggregation_metrics.measure_rule(merged.parts, verdict, rule, axes)
        if metrics
        else (),
    )


def _of_all_groups(count, axis_name):
    """Return the count of all groups of workers, such as pods, that aggregate alone."""
    groups = _collectives.other_axes(count, axis_name)
    return _collectives.psum(count, groups) if groups else count


def anchors(plans, rule, names, state, reference, axis_name):
    """Return my part of the anchor of each leaf, flat; None where none is given."""
    if not isinstance(rule.anchor, str):
        return [None] * len(plans)
    if rule.anchor == "reference":
        me = _collectives.axis_index(axis_name)
        _, leaves, _ = _tree.flatten_named(reference)
        return [
            _tree.to_blocks(leaf, plan.blocks)[me if plan.blocks > 1 else 0]
            for plan, leaf in zip(plans, leaves, strict=True)
        ]
    likes = [_plan.previous_like(plan, rule) for plan in plans]
    return _held.of_leaves(plans, likes, names, state.whole, state.part)


def checked_reference(rule, reference, updates):
    """Return the reference like the updates, or None for rules without; or raise."""
    if rule.anchor != "reference":
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


def _size(rule, metrics, leaves, axis_name):
    """Return W, or say how to make a state whose shape depends on it."""
    keeps_parts = rule.anchor == "previous"
    needless = not (metrics or keeps_parts) and rule.init is _rule.no_memory
    # optax.tree_map_params asks for the structure of a state without any leaf.
    if needless or not leaves and not _collectives.is_bound(axis_name):
        return 1
    try:
        return _collectives.axis_size(axis_name)
    except NameError as error:
        raise NameError(
            f"{error} The state of {rule.name} holds something for each worker or its "
            "part of a leaf, so the number of workers must be known: make the state "
            "with jaxdist.init(tx, params, mesh, axis_name), or call tx.init inside "
            "shard_map, pmap or vmap."
        ) from None
