"""The routes: how payloads travel, and how what arrives becomes one gradient.

=========  ==================================================  ======================
route      how                                                 bytes per worker
=========  ==================================================  ======================
psum       all-reduce the payloads, decode the mean            2(W-1)/W · b
gather     all-gather the payloads, decode W, apply the rule   (W-1) · b
scatter    all-to-all of W blocks, decode, rule on my part,    (W-1)/W · (b + back)
           encode again, all-gather
=========  ==================================================  ======================

The leaves of one route travel as one message.
"""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _random, _tree, _types, _wire
from jaxdist.aggregation import _plan


class Sent(NamedTuple):
    """One leaf on its way."""

    plan: _plan.LeafPlan
    payload: Any  # psum: the mean payload; else [W, ...], one row per sender
    common: jax.Array  # key that all workers share for this leaf


def _keys_for(
    compressor: _types.Compressor, common: jax.Array, worker_index: jax.Array | int
) -> _types.Keys:
    """Return a sender's keys; no key is derived for those who do not draw."""
    if not compressor.contract.stochastic:
        return _types.Keys(common, common)
    return _random.keys_of(common, worker_index)


def encode(
    plans: Sequence[_plan.LeafPlan],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    key: jax.Array,
    axis_name: _types.AxisName,
) -> tuple[list[Sent], list[Any]]:
    """Compress this worker's leaves; return what is to travel and the new states."""
    me = _collectives.index(axis_name)
    sent, new_states = [], []
    for i, (plan, leaf, state) in enumerate(zip(plans, leaves, states, strict=True)):
        common = _random.leaf_key(key, i)
        keys = _keys_for(plan.compressor, common, me)
        payload, state = plan.compressor.encode(leaf, state, keys, plan.blocks)
        sent.append(Sent(plan, payload, common))
        new_states.append(state)
    return sent, new_states


def deliver(sent: Sequence[Sent], axis_name: _types.AxisName) -> list[Sent]:
    """Let all payloads travel, one message per route."""
    arrived: dict[int, Sent] = {}
    for route in _plan.ROUTES:
        chosen = [i for i, item in enumerate(sent) if item.plan.route == route]
        if chosen:
            items = _travel(route, [sent[i] for i in chosen], axis_name)
            arrived.update(zip(chosen, items, strict=True))
    return [arrived[i] for i in range(len(sent))]


def _travel(route: str, sent: Sequence[Sent], axis_name: _types.AxisName) -> list[Sent]:
    """Let the payloads of one route travel."""
    arrays, treedef = jax.tree.flatten([item.payload for item in sent])
    collective = {
        "psum": _all_reduce,
        "gather": _all_gather,
        "scatter": _all_to_all,
    }[route]
    payloads = treedef.unflatten(collective(arrays, axis_name))
    return [
        item._replace(payload=payload)
        for item, payload in zip(sent, payloads, strict=True)
    ]


def _all_reduce(arrays, axis_name):
    """Return the means over the workers, ``[1, ...]`` like the arrays."""
    num_workers = _collectives.size(axis_name)

    def is_narrow(array):
        return jnp.dtype(array.dtype).itemsize < 4

    # Narrow floats are divided first: their sum may be out of range.
    shares = [
        (x[0] / num_workers if is_narrow(x) else x[0]).astype(
            _collectives.psum_dtype(x.dtype)
        )
        for x in arrays
    ]
    sums = _collectives.psum(shares, axis_name)
    return [
        (total if is_narrow(x) else total / num_workers)[None]
        for total, x in zip(sums, arrays, strict=True)
    ]


def _all_gather(arrays, axis_name):
    """Return ``[W, ...]`` from ``[1, ...]``."""
    message = _wire.pack(arrays)[0]
    return _wire.unpack(_collectives.all_gather(message, axis_name), arrays)


def _all_to_all(arrays, axis_name):
    """Return what each worker sent to this one, ``[W, ...]``."""
    message = _collectives.all_to_all(_wire.pack(arrays), axis_name)
    return _wire.unpack(message, arrays)


def _decode_mean_payload(sent: Sent) -> jax.Array:
    """Decode what the route psum brought, to the flat leaf."""
    plan = sent.plan
    keys = _keys_for(plan.compressor, sent.common, 0)
    like = _tree.like(plan.like, _tree.accumulator_dtype(plan.like.dtype))
    return plan.compressor.decode(sent.payload, like, keys).reshape(-1)


def _decode_rows(sent: Sent) -> jax.Array:
    """Decode what every worker sent, to rows ``[W, s]`` of my part of the leaf."""
    plan = sent.plan
    like = _part_like(plan)

    def decode(payload, worker_index):
        keys = _keys_for(plan.compressor, sent.common, worker_index)
        single = jax.tree.map(lambda array: array[None], payload)
        return plan.compressor.decode(single, like, keys).reshape(-1)

    return jax.vmap(decode)(sent.payload, jnp.arange(plan.num_workers))


def _decode_mean(sent: Sent, rule: _types.AggregationRule) -> jax.Array:
    """Decode the mean over the senders of my part of the leaf, ``[s]``."""
    plan = sent.plan
    accumulate = plan.compressor.accumulate
    if accumulate is None:
        return rule.reduce(_decode_rows(sent))
    like = _part_like(plan)

    def add(worker_index, total):
        row = jax.tree.map(lambda array: array[worker_index][None], sent.payload)
        keys = _keys_for(plan.compressor, sent.common, worker_index)
        return accumulate(total, row, keys)

    some_array = jax.tree.leaves(sent.payload)[0]
    zeros = jnp.zeros_like(some_array, shape=like.shape, dtype=like.dtype)
    total = jax.lax.fori_loop(0, plan.num_workers, add, zeros)
    return total.reshape(-1) / plan.num_workers


def _part_like(plan: _plan.LeafPlan) -> jax.ShapeDtypeStruct:
    """Return the part of the leaf that a worker decodes, in the dtype of the rule."""
    part = plan.shard if plan.route == "scatter" else plan.like
    return _tree.like(part, _tree.accumulator_dtype(part.dtype))


def merge(
    arrived: Sequence[Sent],
    rule: _types.AggregationRule,
    key: jax.Array,
    axis_name: _types.AxisName,
) -> list[jax.Array]:
    """Apply the rule; return each leaf flat, or my part of it on the route scatter."""
    if not arrived:
        return []
    if rule.linear:
        return [
            _decode_mean_payload(item)
            if item.plan.route == "psum"
            else _decode_mean(item, rule)
            for item in arrived
        ]
    dtype = _plan.row_dtype([item.plan for item in arrived])
    rows = [_decode_rows(item).astype(dtype) for item in arrived]
    routes = [item.plan.route for item in arrived]
    geometry = None
    if rule.mix is not None:
        geometry = _geometry(rows, routes, axis_name)
    merged: dict[int, jax.Array] = {}
    for route in sorted(set(routes)):
        chosen = [i for i, other in enumerate(routes) if other == route]
        whole = rule.apply(
            jnp.concatenate([rows[i] for i in chosen], axis=1), geometry, key
        )
        ends = itertools.accumulate(rows[i].shape[1] for i in chosen)
        merged.update(zip(chosen, jnp.split(whole, list(ends)[:-1]), strict=True))
    return [merged[i] for i in range(len(arrived))]


def _geometry(
    rows: Sequence[jax.Array], routes: Sequence[str], axis_name: _types.AxisName
) -> _types.Geometry:
    """Measure the whole gradient: what all have seen, and the parts of all workers."""
    parts = []
    for route in sorted(set(routes)):
        chosen = [
            row for row, other in zip(rows, routes, strict=True) if other == route
        ]
        part = _types.Geometry.of(jnp.concatenate(chosen, axis=1)).as_matrix()
        if route == "scatter":
            part = _collectives.psum(part, axis_name)
        parts.append(part)
    return _types.Geometry.from_matrix(functools.reduce(operator.add, parts))


def send_back(
    merged: Sequence[jax.Array],
    plans: Sequence[_plan.LeafPlan],
    states: Sequence[Any],
    key: jax.Array,
    axis_name: _types.AxisName,
) -> tuple[list[jax.Array], list[Any]]:
    """Join the parts of all workers to whole leaves, compressed on their way.

    Args:
      merged: Each leaf flat, or on the route scatter my part of it.
      plans: Of the same leaves.
      states: Of the downlink's compressor, for the same leaves.
      key: The same on all workers.
      axis_name: The workers' axis.

    Returns:
      The leaves, equal on all workers, and the new states.
    """
    scattered = [i for i, plan in enumerate(plans) if plan.route == "scatter"]
    leaves, states = list(merged), list(states)
    if scattered:
        # On the way back the leaf is a worker's part, and its route is gather.
        back = [
            plans[i]._replace(
                like=plans[i].shard, compressor=plans[i].downlink, route="gather"
            )
            for i in scattered
        ]
        parts = [merged[i].astype(plans[i].like.dtype) for i in scattered]
        sent, new_states = encode(
            back, parts, [states[i] for i in scattered], key, axis_name
        )
        for i, item, state in zip(
            scattered, deliver(sent, axis_name), new_states, strict=True
        ):
            leaves[i], states[i] = _decode_rows(item), state
    return [
        _tree.from_blocks(leaf, plan.like)
        for leaf, plan in zip(leaves, plans, strict=True)
    ], states
