"""An aggregation, bound once: what it starts with, and one step of it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _random, _traffic, _tree
from jaxdist.aggregation import (
    _buckets,
    _leaf_plan,
    _meeting,
    _merge,
    _note_moments,
    _part_optimizer,
    _receiver_memory,
    _rule_state,
    _send_back,
    _transport,
    _workers,
)
from jaxdist.compression import _joint, _per_leaf, _stages
from jaxdist.rules import _rule
from jaxdist.workers import _number, _own_updates, _shards, _weight, _worker_state


class About(NamedTuple):
    """What a step is told that only an optimizer within it asks for."""

    params: Any
    extra: dict[str, Any]  # further arguments of tx.update
    overlaps: bool = False  # whether other computations go on meanwhile


class AggregateState(NamedTuple):
    """State of :func:`aggregate`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: _random.Stream | tuple[()]  # equal on all workers; () where nothing is drawn
    uplink: _worker_state.PerWorkerState  # tree of compressor states; varies
    downlink: _worker_state.PerWorkerState  # of the way back or an optimizer; varies
    estimates: _receiver_memory.EstimateState
    rule: _rule_state.RuleState


# The object itself tells reports which transformation sends something.
@dataclasses.dataclass(frozen=True, eq=False)
class Aggregation:
    """What :func:`aggregate` was asked for, checked."""

    axis_name: _collectives.AxisName
    model_axis_name: _collectives.AxisName | None
    rule: _rule.AggregationRule
    stages: list[_stages.Stage]  # of compressor and downlink
    route: str
    weighted: bool
    metrics: bool
    key: _random.Stream | tuple[()]
    num_buckets: int = 1  # messages one after the other
    optimizer: _part_optimizer.PartOptimizer | None = None  # that steps with parts

    def plan_leaves(
        self,
        compressor: Any,
        downlink: Any,
        names: list[str],
        leaves: list[Any],
        overlaps: bool = False,
    ) -> list[_leaf_plan.LeafPlan]:
        """Return how each leaf travels."""
        rule = self.rule
        wanted = _leaf_plan.Wanted(
            *(compressor, downlink, self.route),
            rule_name=rule.name,
            is_mean=rule.linear and not self.metrics,  # which ask for each worker
            needs_aligned=rule.needs_aligned,
            is_weighted=self.weighted,
            is_fixed=rule.keeps_previous,
            overlaps=overlaps,
            has_buckets=self.num_buckets > 1,
        )
        num_workers = _collectives.axis_size(self.axis_name)
        plans = [
            _leaf_plan.plan_leaf(name, leaf, num_workers, self.axis_name, wanted)
            for name, leaf in zip(names, leaves, strict=True)
        ]
        if self.optimizer is not None:
            plans = [plan._replace(is_stepped=True) for plan in plans]
        if self.num_buckets == 1:
            return plans
        sent = [plan.nbytes_sent() for plan in plans]
        numbers = _buckets.bucket_numbers(names, sent, self.num_buckets)
        return [
            plan._replace(bucket=number)
            for plan, number in zip(plans, numbers, strict=True)
        ]


def init_state(bound: Aggregation, params: Any) -> AggregateState:
    """Return the state before the first step."""
    _tree.check_arrays("params", params)
    _tree.check_floats("params", params)

    def init_stage(compressor, downlink, params):
        whole = jax.tree.structure(params)
        for policy in (compressor, downlink):
            _per_leaf.check_patterns(policy, params)
        params, _, policy_of = _joint.join_leaves(compressor, params)
        if bound.optimizer is not None and jax.tree.structure(params) != whole:
            raise ValueError(
                "`compressor` must leave each leaf alone in shard_optimizer, whose "
                "`inner` sees the leaves by their names; by_leaf(..., joint=True) "
                "joins several."
            )
        compressor, downlink = policy_of(compressor), policy_of(downlink)

        def plan_leaves(names, leaves):
            return bound.plan_leaves(compressor, downlink, names, leaves)

        axis_name = bound.axis_name
        uplink = _per_leaf.init_states(compressor, params)
        return AggregateState(
            jnp.zeros((), jnp.int32),
            bound.key,
            _attach_like(uplink, params, axis_name),
            _init_way_back(bound, downlink, params),
            _init_estimates(plan_leaves, [compressor, downlink], params, axis_name),
            _rule_state.init_rule_state(
                plan_leaves, bound.rule, bound.metrics, params, axis_name
            ),
        )

    return _stages.init_stages(bound.stages, init_stage, params)


def take_step(
    bound: Aggregation,
    updates: Any,
    state: AggregateState,
    reference: Any,
    weight: _weight.Weight | None,
    about: About,
) -> tuple[Any, AggregateState]:
    """Return one gradient of W, and the state after it."""
    _checks.own_state(state, AggregateState, "aggregate")
    _tree.check_arrays("updates", updates)
    reference = _rule_state.checked_reference(bound.rule, reference, updates)
    _note_moments.check_moments(len(bound.stages))

    def stage_step(compressor, downlink, updates, state, reference, weight):
        _own_updates.check_own_updates(updates, bound.axis_name)
        arrival = about.extra.get("arrival")
        _meeting.check_meeting(arrival, bound.axis_name, bound.rule, state.estimates)
        reference = _joint.join_leaves(compressor, reference).tree
        joined = _joint.join_leaves(compressor, updates)
        plans = _plans_of(bound, compressor, downlink, joined, about.overlaps)
        source = (bound, *(plan.name for plan in plans))
        with _traffic.sender(source, f"aggregate({bound.axis_name!r})"):
            workers = _workers.workers_of(bound.axis_name, weight, updates)
            step = _Step(bound, plans, workers, joined.tree, about)
            updates, after = step.run(state, reference)
        return joined.unbundle(updates), after

    return _stages.run_stage(
        bound.stages, stage_step, state.count, updates, state, reference, weight
    )


def _plans_of(bound, compressor, downlink, joined, overlaps):
    """Return the plans of all leaves, for rules that can work with so many workers."""
    names, leaves, _ = _tree.flatten_named(joined.tree)
    bound.rule.check(_collectives.axis_size(bound.axis_name))
    policies = joined.policy_of(compressor), joined.policy_of(downlink)
    return bound.plan_leaves(*policies, names, leaves, overlaps)


class _Step(NamedTuple):
    """One step: encode, travel, merge, send back."""

    bound: Aggregation
    plans: list[_leaf_plan.LeafPlan]
    workers: _workers.Workers
    updates: Any
    about: About

    def run(self, state, reference):
        """Return the merged updates and the state after the step."""
        leaves, treedef = jax.tree.flatten(self.updates)
        plans, workers, rule = self.plans, self.workers, self.bound.rule
        uplink, downlink = self._compressor_states(state)
        estimates, of_downlink = _receiver_memory.load_estimates(plans, state.estimates)
        anchors = _rule_state.anchors_of_leaves(
            plans, rule, state.rule, reference, workers
        )
        step_key = _random.step_key(state.key, state.count)
        uplink_key, rule_key, downlink_key = (
            _random.named_key(step_key, way) for way in ("uplink", "rule", "downlink")
        )
        extent = _merge.Extent(workers, self._model_axes(), rule_key)
        with jax.named_scope("jaxdist.encode"):
            outgoing, encoded = _transport.encode_leaves(
                plans, leaves, uplink, uplink_key, workers
            )
        with jax.named_scope("jaxdist.travel"):
            arrived, encoded = _transport.exchange(outgoing, leaves, encoded, workers)
        with jax.named_scope("jaxdist.merge"):
            merged = _merge.merge_leaves(
                *(arrived, estimates, anchors, rule, state.rule.memory),
                *(extent, self.bound.metrics),
            )
        _note_moments.note_moments(outgoing, merged, extent)
        rule_state = _rule_state.next_rule_state(
            plans, rule, self.bound.metrics, merged, treedef, extent
        )
        leaves, of_optimizer, has_levels = self._step_with_parts(
            merged.leaves, treedef, state.downlink
        )
        with jax.named_scope("jaxdist.send_back"):
            leaves, downlink, of_downlink = _send_back.join_parts(
                leaves, plans, downlink, of_downlink, downlink_key, workers
            )
        uplink = self._states_of_absent(uplink, encoded, outgoing)
        axis_name = self.bound.axis_name
        after = AggregateState(
            _tree.next_count(state.count),
            state.key,
            _attach_like(treedef.unflatten(uplink), self.updates, axis_name),
            of_optimizer
            or _attach_like(treedef.unflatten(downlink), self.updates, axis_name),
            _receiver_memory.store_estimates(
                plans, merged.estimates, of_downlink, treedef, axis_name
            ),
            rule_state,
        )
        return self._unless_nobody(treedef.unflatten(leaves), after, state, has_levels)

    def _model_axes(self):
        """Return the axes over which the leaves are shards of a gradient, or None."""
        named = self.bound.model_axis_name
        axes = () if named is None else _collectives.names_of(named)
        return tuple(dict.fromkeys((*axes, *_shards.axes_inside()))) or None

    def _compressor_states(self, state):
        """Return the states of all compressors of both ways, leaf by leaf."""
        names = [plan.name for plan in self.plans]
        uplink = _per_leaf.find_states(
            [plan.compressor for plan in self.plans],
            names,
            jax.tree.leaves(self.updates),
            _worker_state.detach_axis(state.uplink),
        )
        if self.bound.optimizer is not None:
            return uplink, [() for _ in names]
        downlink = _per_leaf.find_states(
            [plan.downlink for plan in self.plans],
            names,
            [plan.shard for plan in self.plans],
            _worker_state.detach_axis(state.downlink),
        )
        return uplink, downlink

    def _step_with_parts(self, merged, treedef, state):
        """Let the optimizer, where there is one, take its step for my parts."""
        if self.bound.optimizer is None:
            return merged, None, False
        parts = [
            part.reshape(_part_optimizer.part_shape(plan.like.shape, part.size)).astype(
                plan.like.dtype
            )
            for part, plan in zip(merged, self.plans, strict=True)
        ]
        with jax.named_scope("jaxdist.optimize"):
            updates, after, has_levels = self.bound.optimizer.step(
                treedef.unflatten(parts),
                state,
                self.bound.axis_name,
                self.about.params,
                self.about.extra,
            )
        leaves = [leaf.reshape(-1) for leaf in jax.tree.leaves(updates)]
        return leaves, after, has_levels

    def _states_of_absent(self, before, after, outgoing):
        """Return what compressors remember: who is absent has sent nothing."""
        if self.workers.weight is None:
            return after
        here = self.workers.is_present

        def state_of(item, old, new):
            keys = item.keys_of(self.workers.index)
            kept = _per_leaf.state_while_absent(item.plan.compressor, old, new, keys)
            return _receiver_memory.keep_while_absent(new, kept, here)

        return list(map(state_of, outgoing, before, after))

    def _unless_nobody(self, updates, after, before, has_levels):
        """Return zeros and what was known before, where all workers are absent.

        Where the optimizer has aggregated over another axis, others have been there,
        and what it made of them is the same for all: it knows who was absent.
        """
        there = self.workers.any_present
        if there is True:
            return updates, after
        if not has_levels:
            zeros = jax.tree.map(jnp.zeros_like, updates)
            updates = _receiver_memory.keep_while_absent(updates, zeros, there)

        # Not of the key: a level inside a pod has one for all pods.
        def memories(state):
            rule = state.rule
            held = (rule.memory, rule.whole, rule.part)
            way_back = () if has_levels else state.downlink
            return state.uplink, way_back, state.estimates, held

        known = _tree.arrange_like(memories(after), memories(before))
        uplink, downlink, estimates, held = _receiver_memory.keep_while_absent(
            memories(after), known, there
        )
        memory, whole, part = held
        rule = after.rule._replace(memory=memory, whole=whole, part=part)
        downlink = after.downlink if has_levels else downlink
        return updates, AggregateState(
            after.count, after.key, uplink, downlink, estimates, rule
        )


def _attach_like(states, leaves, axis_name):
    """Mark compressor states as each worker's own, sharded as their leaves are."""

    def vary(leaf, state):
        return _collectives.to_varying(state, _collectives.other_axes(leaf, axis_name))

    return _worker_state.attach_axis(jax.tree.map(vary, leaves, states), axis_name)


_FOR_PARTS = "keeps a state for each worker's part of a leaf"


def _init_way_back(bound, downlink, params):
    """Return the state of what sends back: of an optimizer, or of compressors."""
    axis_name = bound.axis_name
    if bound.optimizer is None:
        states = _init_downlink(downlink, params, axis_name)
        return _attach_like(states, params, axis_name)
    with _number.wanted_number(f"shard_optimizer {_FOR_PARTS}"):
        return bound.optimizer.init(params, axis_name)


def _init_downlink(downlink, params, axis_name):
    """Return the states of the downlink's compressors, for this worker's parts."""
    if downlink is None:
        return jax.tree.map(lambda leaf: (), params)
    bound = _collectives.is_bound(axis_name)

    def init_leaf(path, leaf):
        chosen = _per_leaf.select_compressor(downlink, _tree.path_name(path), leaf)
        if bound or jax.tree.leaves(jax.eval_shape(chosen.init, leaf)):
            leaf = _part_for_downlink(chosen, leaf, axis_name)
        return chosen.init(leaf)

    return jax.tree.map_with_path(init_leaf, params)


def _part_for_downlink(downlink, leaf, axis_name):
    """Return my part, or say how to make a state whose shape depends on W."""
    with _number.wanted_number(f"`downlink` {downlink.name} {_FOR_PARTS}"):
        return _collectives.own_part(leaf, axis_name)


def _init_estimates(plan_leaves, compressors, params, axis_name):
    """Return zeros wherever the receivers of a leaf must remember."""
    names, leaves, treedef = _tree.flatten_named(params)
    if not _receiver_memory.needs_memory(compressors, params):
        return _receiver_memory.no_estimates(treedef)
    plans = plan_leaves(names, leaves)
    return _receiver_memory.init_estimates(plans, treedef, axis_name)
