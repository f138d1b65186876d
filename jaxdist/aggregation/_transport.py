"""Transport: leaves become payloads, and payloads travel, those of a route together.

What a model axis shards travels apart. Packed into one message with a sharded kernel, a
replicated bias would come back typed as varying over the model axis.
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxdist import _random, _traffic
from jaxdist.aggregation import _buckets, _dialogues, _leaf_plan, _routes, _workers


class Outgoing(NamedTuple):
    """One leaf before it travels."""

    plan: _leaf_plan.LeafPlan
    payload: Any  # [blocks, ...]; None where a dialogue finds the mean
    key: Any  # that all workers share for this leaf; None where nobody draws

    def keys_of(self, worker_index: jax.Array | int) -> _random.Keys:
        """Return a sender's keys."""
        return _keys_of_sender(self, worker_index)


class Arrived(NamedTuple):
    """One leaf that has travelled."""

    plan: _leaf_plan.LeafPlan
    payload: Any  # the mean payload [1, ...]; else [W, ...], one row per sender
    key: Any  # that all workers share for this leaf; None where nobody draws
    mean: Any = None  # that a dialogue found

    def keys_of(self, worker_index: jax.Array | int) -> _random.Keys:
        """Return a sender's keys."""
        return _keys_of_sender(self, worker_index)


def _keys_of_sender(
    item: Outgoing | Arrived, worker_index: jax.Array | int
) -> _random.Keys:
    """Return a sender's keys, which compressors that do not draw do not get."""
    draws = item.plan.compressor.contract.stochastic
    return _random.keys_of(item.key, worker_index, draws)


class Message(NamedTuple):
    """What leaves that travel together have in common.

    Those that are sharded over a model axis and those that are not travel apart:
    together, all would be typed as varying over it.
    """

    route: _routes.Route
    other_axes: tuple[str, ...]  # over which they vary, other than the workers'
    bucket: int


def messages_of(plans: Sequence[_leaf_plan.LeafPlan]) -> dict[Message, list[int]]:
    """Return which leaves travel together."""
    messages: dict[Message, list[int]] = {}
    for i, plan in enumerate(plans):
        message = Message(plan.route, plan.other_axes, plan.bucket)
        messages.setdefault(message, []).append(i)
    order = sorted(messages, key=lambda message: (message.bucket, message.route.order))
    return {message: messages[message] for message in order}


def encode_leaves(
    plans: Sequence[_leaf_plan.LeafPlan],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    key: jax.Array,
    workers: _workers.Workers,
) -> tuple[list[Outgoing], list[Any]]:
    """Compress this worker's leaves; return what is to travel and the new states."""
    outgoing, new_states = [], []
    for plan, leaf, state in zip(plans, leaves, states, strict=True):
        item = Outgoing(plan, None, _random.named_key(key, plan.name))
        if plan.dialogue is None:
            keys = item.keys_of(workers.index)
            payload, state = plan.compressor.encode(leaf, state, keys, plan.blocks)
            item = item._replace(payload=workers.silence_absent(payload))
        outgoing.append(item)
        new_states.append(state)
    return outgoing, new_states


def exchange(
    outgoing: Sequence[Outgoing],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    workers: _workers.Workers,
) -> tuple[list[Arrived], list[Any]]:
    """Let all payloads travel, and hold all dialogues, one message per round."""
    passengers = _passengers(outgoing)
    arrived = travel(outgoing, workers, waiting=passengers)
    talks = _dialogues.begin_talks(outgoing, leaves, states, workers)
    riding = [outgoing[i] for i in passengers]
    payloads = _dialogues.hold_rounds(talks, riding, workers)
    for i, payload in zip(passengers, payloads, strict=True):
        arrived[i] = arrived[i]._replace(payload=payload)
    states = list(states)
    for talk in talks:
        means, talked = talk.finish()
        for row, i in enumerate(talk.indices):
            arrived[i] = arrived[i]._replace(mean=means[row])
            states[i] = jax.tree.map(operator.itemgetter(row), talked)
    return arrived, states


def travel(
    outgoing: Sequence[Outgoing],
    workers: _workers.Workers,
    waiting: Sequence[int] = (),
) -> list[Arrived]:
    """Let all payloads travel but those that wait, those of a message together."""
    arrived = [Arrived(*item) for item in outgoing]
    # Of each kind of leaves: a barrier for different ones would mix up their types.
    last: dict[tuple[str, ...], tuple[int, Any]] = {}
    for message, chosen in messages_of([item.plan for item in outgoing]).items():
        chosen = [i for i in chosen if i not in waiting]
        arrays, treedef = jax.tree.flatten([outgoing[i].payload for i in chosen])
        contents = [outgoing[i].plan.content(outgoing[i].payload) for i in chosen]
        bucket, before = last.get(message.other_axes, (message.bucket, None))
        if message.bucket > bucket:
            arrays = _buckets.wait_for(arrays, before)
        with _traffic.contents(contents), _traffic.in_bucket(message.bucket):
            payloads = treedef.unflatten(message.route.travel(arrays, workers))
        last[message.other_axes] = message.bucket, payloads
        for i, payload in zip(chosen, payloads, strict=True):
            arrived[i] = arrived[i]._replace(payload=payload)
    return arrived


def _passengers(outgoing: Sequence[Outgoing]) -> list[int]:
    """Return which leaves travel with the first round of dialogues: a message less."""
    if all(item.plan.dialogue is None for item in outgoing):
        return []
    return [
        i
        for i, item in enumerate(outgoing)
        if item.plan.route.averages
        and item.plan.dialogue is None
        and all(array.size <= _routes.PACKED for array in jax.tree.leaves(item.payload))
    ]
