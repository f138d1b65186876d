"""The routes: how payloads travel, and how what arrives becomes one gradient.

=========  ==================================================  ======================
route      how                                                 bytes per worker
=========  ==================================================  ======================
psum       all-reduce the payloads, decode the mean            2(W-1)/W · b
gather     all-gather the payloads, decode W, apply the rule   (W-1) · b
scatter    all-to-all of W blocks, decode, rule on my part,    (W-1)/W · (b + back)
           encode again, all-gather
=========  ==================================================  ======================

The leaves of one route travel as one message. Those that are sharded over a model axis
and those that are not travel apart: together, all would be typed as varying over it.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _random, _tree, _wire
from jaxdist.aggregation import _judgement, _plan
from jaxdist.compression import _compressor
from jaxdist.rules import _rule

_SMALL = 2**17  # elements of a leaf that shares its dialogue with others
_PACKED = 2**14  # elements of an array that is cheaper to copy than to send alone


class Sent(NamedTuple):
    """One leaf on its way."""

    plan: _plan.LeafPlan
    payload: Any  # psum: the mean payload; else [W, ...], one row per sender
    key: jax.Array  # that all workers share for this leaf
    estimate: Any = ()  # of incremental compressors: what all payloads so far sum to
    mean: Any = None  # that a dialogue found
    anchor: Any = None  # of rules that have one: my part of the leaf, flat

    def keys_of(self, worker_index: jax.Array | int) -> _random.Keys:
        """Return a sender's keys; none is derived for compressors that do not draw."""
        if not self.plan.compressor.contract.stochastic:
            return _random.Keys(self.key, self.key)
        return _random.keys_of(self.key, worker_index)


def _messages(plans: Sequence[_plan.LeafPlan]) -> dict[_judgement.Message, list[int]]:
    """Return which leaves travel together."""
    messages: dict[_judgement.Message, list[int]] = {}
    for i, plan in enumerate(plans):
        message = _judgement.Message(plan.route, plan.other_axes)
        messages.setdefault(message, []).append(i)
    order = sorted(messages, key=lambda message: _plan.ROUTES.index(message.route))
    return {message: messages[message] for message in order}


def encode(
    plans: Sequence[_plan.LeafPlan],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    key: jax.Array,
    axis_name: _collectives.AxisName,
) -> tuple[list[Sent], list[Any]]:
    """Compress this worker's leaves; return what is to travel and the new states."""
    me = _collectives.axis_index(axis_name)
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


def deliver(
    sent: Sequence[Sent], axis_name: _collectives.AxisName, waiting: Sequence[int] = ()
) -> list[Sent]:
    """Let all payloads travel but those that wait, those of a message together."""
    arrived = list(sent)
    for message, chosen in _messages([item.plan for item in sent]).items():
        chosen = [i for i in chosen if i not in waiting]
        items = _travel(message.route, [sent[i] for i in chosen], axis_name)
        for i, item in zip(chosen, items, strict=True):
            arrived[i] = item
    return arrived


def _passengers(sent: Sequence[Sent]) -> list[int]:
    """Return which leaves travel with the first round of dialogues: a message less."""
    if all(item.plan.dialogue is None for item in sent):
        return []
    return [
        i
        for i, item in enumerate(sent)
        if item.plan.route == "psum"
        and item.plan.dialogue is None
        and all(array.size <= _PACKED for array in jax.tree.leaves(item.payload))
    ]


def exchange(
    sent: Sequence[Sent],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    axis_name: _collectives.AxisName,
) -> tuple[list[Sent], list[Any]]:
    """Deliver all payloads, and hold all dialogues, one message per round."""
    passengers = _passengers(sent)
    arrived, states = deliver(sent, axis_name, passengers), list(states)
    talks = _talks(arrived, leaves, states, axis_name)
    for turn in range(max((len(talk.dialogue.rounds) for talk in talks), default=0)):
        speaking = [talk for talk in talks if turn < len(talk.dialogue.rounds)]
        payloads = [talk.ask(talk.dialogue.rounds[turn]) for talk in speaking]
        riding = [] if turn else passengers
        arrays, treedef = jax.tree.flatten(
            (
                jax.tree.map(operator.itemgetter(None), payloads),
                [arrived[i].payload for i in riding],
            )
        )
        # All in one: XLA would also merge the second round of one leaf with the first
        # of another, into as many messages as leaves.
        answers, others = treedef.unflatten(_all_reduce(arrays, axis_name, math.inf))
        for talk, answer in zip(speaking, answers, strict=True):
            talk.means.append(jax.tree.map(operator.itemgetter(0), answer))
        for i, payload in zip(riding, others, strict=True):
            arrived[i] = arrived[i]._replace(payload=payload)
    for talk in talks:
        mean, state = talk.ask(talk.dialogue.finish)
        for row, i in enumerate(talk.indices):
            arrived[i] = arrived[i]._replace(mean=mean[row])
            states[i] = jax.tree.map(operator.itemgetter(row), state)
    return arrived, states


class _Talk(NamedTuple):
    """A dialogue about leaves that are alike, held for all of them at once."""

    dialogue: _compressor.Dialogue
    indices: list[int]  # of the leaves
    about: tuple[Any, Any, Any]  # leaf, state and keys, one row for each of the leaves
    means: list[Any]  # of the rounds so far, in such rows

    def ask(self, function: Callable[..., Any]) -> Any:
        """Return what a round, or the finish, makes of each of the leaves."""
        return jax.vmap(function)(*self.about, tuple(self.means))


def _talks(arrived, leaves, states, axis_name) -> list[_Talk]:
    """Return the dialogues of all leaves that have one."""
    alike: dict[Any, list[int]] = {}
    for i, item in enumerate(arrived):
        if item.plan.dialogue is not None:
            plan = item.plan
            kind = (plan.compressor, plan.other_axes, leaves[i].shape, leaves[i].dtype)
            # A large leaf keeps the machine busy alone, and would have to be copied.
            alike.setdefault(kind if leaves[i].size <= _SMALL else i, []).append(i)
    if not alike:
        return []
    me = _collectives.axis_index(axis_name)

    def rows_of(i):
        return leaves[i], states[i], arrived[i].keys_of(me)

    return [
        _Talk(
            arrived[indices[0]].plan.compressor.dialogue,
            indices,
            jax.tree.map(lambda *rows: jnp.stack(rows), *map(rows_of, indices)),
            [],
        )
        for indices in alike.values()
    ]


def _travel(
    route: str, sent: Sequence[Sent], axis_name: _collectives.AxisName
) -> list[Sent]:
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


def _all_reduce(arrays, axis_name, packed: float = _PACKED):
    """Return the means over the workers, ``[1, ...]`` like the arrays.

    Arrays of up to ``packed`` elements travel as one for each dtype and sharding: on
    CPU, XLA starts a message for every array of an all-reduce.
    """
    groups: dict[Any, list[int]] = {}
    for i, x in enumerate(arrays):
        kind = (x.dtype, _collectives.other_axes(x, axis_name))
        groups.setdefault(kind if x.size <= packed else i, []).append(i)
    messages = [_joined([arrays[i] for i in group]) for group in groups.values()]
    means = list(arrays)
    for group, mean in zip(groups.values(), _means(messages, axis_name), strict=True):
        parts = _tree.split_flat(mean.reshape(-1), (arrays[i].size for i in group))
        for i, part in zip(group, parts, strict=True):
            means[i] = part.reshape(arrays[i].shape)
    return means


def _joined(arrays):
    """Return one array ``[1, n]``, or the only one as it is, to be reduced in place."""
    if len(arrays) == 1:
        return arrays[0]
    return jnp.concatenate([array.reshape(1, -1) for array in arrays], axis=1)


def _means(arrays, axis_name):
    """Return the means over the workers, ``[1, ...]`` like the arrays."""
    num_workers = _collectives.axis_size(axis_name)

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
    message = _wire.pack_message(arrays)[0]
    return _wire.unpack_message(_collectives.all_gather(message, axis_name), arrays)


def _all_to_all(arrays, axis_name):
    """Return what each worker sent to this one, ``[W, ...]``."""
    message = _collectives.all_to_all(_wire.pack_message(arrays), axis_name)
    return _wire.unpack_message(message, arrays)


class Merged(NamedTuple):
    """What the rule made of all leaves."""

    leaves: list[jax.Array]  # each flat, or my part of it on the route scatter
    estimates: list[Any]  # () for compressors that are not incremental
    parts: _judgement.Parts  # what it was made of; empty for the mean
    verdict: _rule.Applied


def merge(
    arrived: Sequence[Sent],
    rule: _rule.AggregationRule,
    key: jax.Array,
    memory: Any,
    axes: _judgement.Axes,
) -> Merged:
    """Apply the rule.

    Args:
      arrived: All leaves.
      rule: How the rows become one.
      key: The same on all workers.
      memory: Of the rule.
      axes: Of the workers, and those over which leaves are sharded.
    """
    if rule.linear:
        leaves = [_decode_mean(item, rule) for item in arrived]
        nobody = jnp.zeros((), jnp.int32)
        verdict = _rule.Applied({}, None, memory, nobody)
        return Merged(leaves, _estimates(arrived, leaves), {}, verdict)
    dtype = _plan.row_dtype([item.plan for item in arrived])
    decoded = [_decode_rows(item).astype(dtype) for item in arrived]
    estimates = _estimates(arrived, decoded)
    chosen = _messages([item.plan for item in arrived])
    parts = {
        message: _part(rule, arrived, decoded, indices)
        for message, indices in chosen.items()
        if any(decoded[i].size for i in indices)
    }
    verdict = _judgement.judge(parts, rule, key, memory, axes)
    leaves = [rows[0] for rows in decoded]  # right where there is nothing to judge
    for message, merged in verdict.merged.items():
        sizes = (decoded[i].shape[1] for i in chosen[message])
        pieces = _tree.split_flat(merged, sizes)
        for i, piece in zip(chosen[message], pieces, strict=True):
            leaves[i] = piece
    return Merged(leaves, estimates, parts, verdict)


def _part(rule, arrived, decoded, indices):
    """Join the leaves of a message, and what the rule compares them with."""
    rows = jnp.concatenate([decoded[i] for i in indices], axis=1)
    if not isinstance(rule.anchor, str):
        return rule.part(rows)
    anchors = [arrived[i].anchor.reshape(-1).astype(rows.dtype) for i in indices]
    return rule.part(rows, jnp.concatenate(anchors))


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
    axis_name: _collectives.AxisName,
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
    scattered = [i for i, plan in enumerate(plans) if plan.route == "scatter"]
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
