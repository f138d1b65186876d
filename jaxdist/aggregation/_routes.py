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

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _random, _rule, _tree, _types, _wire
from jaxdist.aggregation import _judgement, _plan


class Sent(NamedTuple):
    """One leaf on its way."""

    plan: _plan.LeafPlan
    payload: Any  # psum: the mean payload; else [W, ...], one row per sender
    key: jax.Array  # that all workers share for this leaf
    estimate: Any = ()  # of incremental compressors: what all payloads so far sum to
    mean: Any = None  # that a dialogue found
    anchor: Any = None  # of rules that have one: my part of the leaf, flat

    def keys_of(self, worker_index: jax.Array | int) -> _types.Keys:
        """Return a sender's keys; none is derived for compressors that do not draw."""
        if not self.plan.compressor.contract.stochastic:
            return _types.Keys(self.key, self.key)
        return _random.keys_of(self.key, worker_index)


def _indices_by_route(plans: Sequence[_plan.LeafPlan]) -> dict[str, list[int]]:
    """Return which leaves take which route."""
    return {
        route: chosen
        for route in _plan.ROUTES
        if (chosen := [i for i, plan in enumerate(plans) if plan.route == route])
    }


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
        item = Sent(plan, None, _random.leaf_key(key, i))
        if plan.dialogue is None:
            payload, state = plan.compressor.encode(
                leaf, state, item.keys_of(me), plan.blocks
            )
            item = item._replace(payload=payload)
        sent.append(item)
        new_states.append(state)
    return sent, new_states


def deliver(sent: Sequence[Sent], axis_name: _types.AxisName) -> list[Sent]:
    """Let all payloads travel, one message per route."""
    arrived = list(sent)
    for route, chosen in _indices_by_route([item.plan for item in sent]).items():
        items = _travel(route, [sent[i] for i in chosen], axis_name)
        for i, item in zip(chosen, items, strict=True):
            arrived[i] = item
    return arrived


def converse(
    arrived: Sequence[Sent],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    axis_name: _types.AxisName,
) -> tuple[list[Sent], list[Any]]:
    """Hold all dialogues, one message per round."""
    arrived, states = list(arrived), list(states)
    dialogues = {
        i: item.plan.dialogue
        for i, item in enumerate(arrived)
        if item.plan.dialogue is not None
    }
    if not dialogues:
        return arrived, states
    means: dict[int, tuple] = {i: () for i in dialogues}
    me = _collectives.index(axis_name)

    def ask(i, function):
        return function(leaves[i], states[i], arrived[i].keys_of(me), means[i])

    for turn in range(max(len(dialogue.rounds) for dialogue in dialogues.values())):
        payloads = {
            i: ask(i, dialogue.rounds[turn])
            for i, dialogue in dialogues.items()
            if turn < len(dialogue.rounds)
        }
        arrays, treedef = jax.tree.flatten(payloads)
        answers = treedef.unflatten(_all_reduce_as_one(arrays, axis_name))
        for i, mean in answers.items():
            means[i] += (mean,)
    for i, dialogue in dialogues.items():
        mean, states[i] = ask(i, dialogue.finish)
        arrived[i] = arrived[i]._replace(mean=mean)
    return arrived, states


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


def _all_reduce_as_one(arrays, axis_name):
    """Return the means over the workers, in one message per dtype.

    XLA would merge the all-reduces of a round only by chance: it also merges the second
    round of one leaf with the first of another, into as many messages as leaves.
    """
    means = list(arrays)
    for dtype in dict.fromkeys(array.dtype for array in arrays):
        chosen = [i for i, array in enumerate(arrays) if array.dtype == dtype]
        message = jnp.concatenate([arrays[i].reshape(-1) for i in chosen])
        mean = _all_reduce([message[None]], axis_name)[0][0]
        parts = _tree.split(mean, (arrays[i].size for i in chosen))
        for i, part in zip(chosen, parts, strict=True):
            means[i] = part.reshape(arrays[i].shape)
    return means


def _all_gather(arrays, axis_name):
    """Return ``[W, ...]`` from ``[1, ...]``."""
    message = _wire.pack(arrays)[0]
    return _wire.unpack(_collectives.all_gather(message, axis_name), arrays)


def _all_to_all(arrays, axis_name):
    """Return what each worker sent to this one, ``[W, ...]``."""
    message = _collectives.all_to_all(_wire.pack(arrays), axis_name)
    return _wire.unpack(message, arrays)


class Merged(NamedTuple):
    """What the rule made of all leaves."""

    leaves: list[jax.Array]  # each flat, or my part of it on the route scatter
    estimates: list[Any]  # () for compressors that are not incremental
    rows: _judgement.Rows  # what it was made of; empty for the mean
    verdict: _judgement.Verdict


def merge(
    arrived: Sequence[Sent],
    rule: _rule.AggregationRule,
    key: jax.Array,
    memory: Any,
    axis_name: _types.AxisName,
) -> Merged:
    """Apply the rule."""
    if rule.linear:
        leaves = [_decode_mean(item, rule) for item in arrived]
        nobody = jnp.zeros((), jnp.int32)
        verdict = _judgement.Verdict({}, None, memory, nobody)
        return Merged(leaves, _estimates(arrived, leaves), {}, verdict)
    dtype = _plan.row_dtype([item.plan for item in arrived])
    decoded = [_decode_rows(item).astype(dtype) for item in arrived]
    estimates = _estimates(arrived, decoded)
    if rule.anchor is not None:
        decoded = [
            jnp.concatenate([rows, _anchor(rule, item, rows)[None]])
            for rows, item in zip(decoded, arrived, strict=True)
        ]
    chosen = _indices_by_route([item.plan for item in arrived])
    joined = {
        route: jnp.concatenate([decoded[i] for i in indices], axis=1)
        for route, indices in chosen.items()
    }
    verdict = _judgement.judge(joined, rule, key, memory, axis_name)
    leaves = [jnp.zeros(0)] * len(arrived)
    for route, indices in chosen.items():
        sizes = (decoded[i].shape[1] for i in indices)
        parts = _tree.split(verdict.merged[route], sizes)
        for i, part in zip(indices, parts, strict=True):
            leaves[i] = part
    return Merged(leaves, estimates, joined, verdict)


def _anchor(rule, item, rows):
    """Return what the rule compares the rows of a leaf with, flat, in their dtype."""
    if callable(rule.anchor):
        return rule.anchor(rows)
    return item.anchor.reshape(-1).astype(rows.dtype)


def _estimates(sent: Sequence[Sent], values: Sequence[jax.Array]) -> list[Any]:
    """Return what the receivers are to remember, in the dtypes of before."""
    return [
        value.astype(item.estimate.dtype) if item.plan.compressor.incremental else ()
        for item, value in zip(sent, values, strict=True)
    ]


def _decode_rows(sent: Sent) -> jax.Array:
    """Return what every worker wants to say, ``[W, s]`` of my part of the leaf."""
    rows = _decode_payloads(sent)
    if not sent.plan.compressor.incremental:
        return rows
    return _tree.add_finite(sent.estimate, rows)


def _decode_payloads(sent: Sent) -> jax.Array:
    """Decode what every worker sent in this step, to rows ``[W, s]``."""
    plan, like = sent.plan, sent.plan.part

    def decode(payload, worker_index):
        single = jax.tree.map(lambda array: array[None], payload)
        keys = sent.keys_of(worker_index)
        return plan.compressor.decode(single, like, keys).reshape(-1)

    return jax.vmap(decode)(sent.payload, jnp.arange(plan.num_workers))


def _decode_mean(sent: Sent, rule: _rule.AggregationRule) -> jax.Array:
    """Return the mean over the senders of my part of the leaf, ``[s]``."""
    if sent.mean is not None:
        return sent.mean.reshape(-1)
    if sent.plan.compressor.incremental:
        return _tree.add_finite(sent.estimate, _decode_mean_payload(sent, rule))
    return _decode_mean_payload(sent, rule)


def _decode_mean_payload(sent: Sent, rule: _rule.AggregationRule) -> jax.Array:
    """Decode the mean of what was sent in this step."""
    plan, like = sent.plan, sent.plan.part
    accumulate = plan.compressor.accumulate
    if plan.route == "psum":
        keys = sent.keys_of(0)  # only the common one can matter to all
        return plan.compressor.decode(sent.payload, like, keys).reshape(-1)
    if accumulate is None:
        return rule.reduce(_decode_payloads(sent))

    def add(worker_index, total):
        row = jax.tree.map(lambda array: array[worker_index][None], sent.payload)
        return accumulate(total, row, sent.keys_of(worker_index))

    some_array = jax.tree.leaves(sent.payload)[0]
    zeros = jnp.zeros_like(some_array, shape=like.shape, dtype=like.dtype)
    total = jax.lax.fori_loop(0, plan.num_workers, add, zeros)
    return total.reshape(-1) / plan.num_workers


def send_back(
    merged: Sequence[jax.Array],
    plans: Sequence[_plan.LeafPlan],
    states: Sequence[Any],
    estimates: Sequence[Any],
    key: jax.Array,
    axis_name: _types.AxisName,
) -> tuple[list[jax.Array], list[Any], list[Any]]:
    """Join the parts of all workers to whole leaves, compressed on their way.

    Args:
      merged: Each leaf flat, or on the route scatter my part of it.
      plans: Of the same leaves.
      states: Of the downlink's compressor, for the same leaves.
      estimates: Of all workers' parts, where the downlink is incremental.
      key: The same on all workers.
      axis_name: The workers' axis.

    Returns:
      The leaves, equal on all workers, the new states and the new estimates.
    """
    leaves, states, estimates = list(merged), list(states), list(estimates)
    scattered = _indices_by_route(plans).get("scatter", [])
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
    arrived = deliver(sent, axis_name)
    for i, item, state in zip(scattered, arrived, new_states, strict=True):
        item = item._replace(estimate=estimates[i])
        leaves[i], states[i] = _decode_rows(item), state
        (estimates[i],) = _estimates([item], [leaves[i]])
    whole = [
        _tree.from_blocks(leaf, plan.like)
        for leaf, plan in zip(leaves, plans, strict=True)
    ]
    return whole, states, estimates
