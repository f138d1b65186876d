"""Merge: what has arrived is decoded, and the rule makes one gradient of it.

Each worker may hold only its part of the gradient. Distances, and who is not finite,
are of the whole: what workers see of their own parts is summed, so that all of them
decide alike.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _leaf_plan, _transport, _workers
from jaxdist.rules import _rule

Parts = Mapping[_transport.Message, _rule.Contributions]  # all that travelled together


@dataclasses.dataclass(frozen=True)
class Extent(_rule.Whole):
    """Over what a gradient is spread, and which random numbers its rule draws."""

    workers: _workers.Workers
    model: _collectives.AxisName | None  # over which leaves themselves are sharded
    key: Any  # the same on all workers; None where nothing is drawn

    def total(self, values: Mapping[Any, Any], what: str) -> Any:
        """Add up what is known of each message, where only my part of it is."""
        totals = []
        for message, value in values.items():
            if message.route.has_parts:
                value = _labelled_psum(value, self.workers.axis_name, what)
            totals.append(sum_of_shards(value, what, self))
        return functools.reduce(operator.add, totals)

    def measure(
        self,
        function: Callable[[_rule.Contributions], jax.Array],
        parts: "Parts",
        what: str,
    ) -> jax.Array:
        """Add up what a function finds in the columns of each message."""
        if not _collectives.is_simulated(self.workers.axis_name):
            return super().measure(function, parts, what)
        # All parts are one array here. Measured one by one, the distances of W workers
        # would be W³ numbers before they are added.
        seen = [self._seen_at_once(function, *item, what) for item in parts.items()]
        totals = (sum_of_shards(value, what, self) for value in seen)
        return functools.reduce(operator.add, totals)

    def _seen_at_once(self, function, message, part, what):
        if not message.route.has_parts:
            return function(part)
        axis_name = self.workers.axis_name
        gather = functools.partial(_collectives.columns_of_all, axis_name=axis_name)
        value = function(jax.tree.map(gather, part))
        with _traffic.contents([_content_of(value, what)]):
            _collectives.note_psum(value, axis_name)
        return value


class Merged(NamedTuple):
    """What the rule made of all leaves."""

    leaves: list[jax.Array]  # each flat, or my part of it on the route scatter
    estimates: list[Any]  # () for compressors that are not incremental
    parts: Parts  # what it was made of; empty where only a mean was needed
    applied: _rule.Applied


def merge_leaves(
    arrived: Sequence[_transport.Arrived],
    estimates: Sequence[Any],
    anchors: Sequence[Any],
    rule: _rule.AggregationRule,
    memory: Any,
    extent: Extent,
    metrics: bool = False,
) -> Merged:
    """Apply the rule.

    Args:
      arrived: All leaves.
      estimates: What receivers remember of each, ``()`` for most.
      anchors: My part of what the rule compares each leaf with, flat, or None.
      rule: How the rows become one.
      memory: Of the rule.
      extent: Over what the gradient is spread.
      metrics: Whether what each worker sent is looked at.
    """
    if rule.linear and not metrics:
        return _mean_of_leaves(arrived, estimates, rule, memory, extent.workers)
    dtype = _leaf_plan.row_dtype([item.plan for item in arrived])
    decoded = [
        decode_rows(item, estimate, extent.workers).astype(dtype)
        for item, estimate in zip(arrived, estimates, strict=True)
    ]
    chosen = _transport.messages_of([item.plan for item in arrived])
    parts = {
        message: _part_of_message(rule, decoded, anchors, indices, extent.workers)
        for message, indices in chosen.items()
        if any(decoded[i].size for i in indices)
    }
    applied = _apply_to_parts(rule, parts, memory, extent)
    leaves = [rows[0] for rows in decoded]  # right where there is nothing to apply to
    for message, result in applied.results.items():
        sizes = (decoded[i].shape[1] for i in chosen[message])
        pieces = _tree.split_flat(result, sizes)
        for i, piece in zip(chosen[message], pieces, strict=True):
            leaves[i] = piece
    return Merged(leaves, new_estimates(arrived, estimates, decoded), parts, applied)


def _apply_to_parts(rule, parts, memory, extent):
    """Apply the rule to all messages, which are one gradient."""
    if not parts:
        return _rule.Applied({}, None, memory, jnp.zeros((), jnp.int32))
    weight = extent.workers.weight
    return _rule.apply_rule(rule, parts, extent, extent.key, memory, weight)


def sum_of_shards(value: jax.Array, what: str, extent: Extent) -> jax.Array:
    """Add up what is known of each shard of leaves that a model axis shards."""
    # What is equal on all of a model axis counts once, where a type says so.
    shards = tuple(
        name
        for name in _collectives.names_of(extent.model or ())
        if _collectives.is_varying(value, name)
    )
    return _labelled_psum(value, shards, f"{what} over the model") if shards else value


def _labelled_psum(value, axis_name, what):
    with _traffic.contents([_content_of(value, what)]):
        return _collectives.psum(value, axis_name)


def _content_of(value, what):
    return _traffic.Content(f"({what})", _tree.leaf_nbytes(value), value.shape)


def _part_of_message(rule, decoded, anchors, indices, workers):
    """Join the leaves of a message, and what the rule compares them with."""
    rows = jnp.concatenate([decoded[i] for i in indices], axis=1)
    given = [anchors[i] for i in indices if anchors[i] is not None]
    if not given:
        return rule.contributions(rows, None, workers.weight)
    flat = [anchor.reshape(-1).astype(rows.dtype) for anchor in given]
    return rule.contributions(rows, jnp.concatenate(flat), workers.weight)


def new_estimates(
    arrived: Sequence[_transport.Arrived],
    estimates: Sequence[Any],
    values: Sequence[jax.Array],
) -> list[Any]:
    """Return what the receivers are to remember, in the dtypes of before."""
    return [
        value.astype(estimate.dtype) if item.plan.compressor.incremental else ()
        for item, estimate, value in zip(arrived, estimates, values, strict=True)
    ]


def _mean_of_leaves(arrived, estimates, rule, memory, workers):
    """Return the mean of the senders of each leaf."""
    leaves, remembered = [], []
    for item, estimate in zip(arrived, estimates, strict=True):
        if item.plan.averages:
            mean = _decode_mean(item, estimate, rule, workers)
            value = mean
        else:
            value = decode_rows(item, estimate, workers)
            mean = rule.apply(rule.contributions(value), None, weight=workers.weight)
        leaves.append(mean)
        remembered.append(value)
    nobody = jnp.zeros((), jnp.int32)
    return Merged(
        leaves,
        new_estimates(arrived, estimates, remembered),
        {},
        _rule.Applied({}, None, memory, nobody),
    )


def decode_rows(
    item: _transport.Arrived, estimate: Any, workers: _workers.Workers
) -> jax.Array:
    """Return what every worker wants to say, ``[W, s]`` of my part of the leaf."""
    rows = _decode_payloads(item, workers)
    if not item.plan.compressor.incremental:
        return rows
    return _tree.add_finite(estimate, rows)


def _decode_payloads(item: _transport.Arrived, workers: _workers.Workers) -> jax.Array:
    """Decode what every worker sent in this step, to rows ``[W, s]``."""
    plan, like = item.plan, item.plan.decoded

    def decode(payload, worker_index):
        single = jax.tree.map(lambda array: array[None], payload)
        keys = item.keys_of(worker_index)
        return plan.compressor.decode(single, like, keys).reshape(-1)

    rows = jax.vmap(decode)(item.payload, jnp.arange(plan.num_workers))
    if workers.weight is None:
        return rows
    # Who is absent said nothing, whatever zeros are decoded to.
    return jnp.where(workers.weight[:, None] > 0, rows, 0)


def _decode_mean(item, estimate, rule, workers):
    """Return the mean over the senders of my part of the leaf, ``[s]``."""
    if item.mean is not None:
        return item.mean.reshape(-1)
    if not item.plan.compressor.incremental:
        return _decode_mean_payload(item, rule, workers)
    if workers.weight is not None:
        raise ValueError(
            f"`weight` was given, but the receivers of {item.plan.compressor.name} "
            "remember one mean, in which workers cannot be weighed again. Make the "
            "transformation with `weighted=True`: it then remembers one estimate for "
            "each worker."
        )
    return _tree.add_finite(estimate, _decode_mean_payload(item, rule, workers))


def _decode_mean_payload(item, rule, workers):
    """Decode the mean of what was sent in this step."""
    plan, like = item.plan, item.plan.decoded
    accumulate = plan.compressor.accumulate
    if plan.compressor.incremental and not plan.compressor.contract.keeps_zeros:
        accumulate = None  # what is not finite must be told apart from all others
    if plan.route.averages:
        keys = item.keys_of(0)  # only the common one can matter to all
        return plan.compressor.decode(item.payload, like, keys).reshape(-1)
    if accumulate is None:
        rows = _decode_payloads(item, workers)
        if plan.compressor.incremental:
            # Its sender left it out too.
            rows = jnp.where(jnp.isfinite(rows), rows, 0)
        if workers.weight is None:
            return rule.reduce(rows)
        return rule.apply(rule.contributions(rows), None, weight=workers.weight)

    def add(worker_index, total):
        row = jax.tree.map(lambda array: array[worker_index][None], item.payload)
        keys = item.keys_of(worker_index)
        if workers.weight is None:
            return accumulate(total, row, keys, 1.0)
        share = workers.share_of(worker_index, like.dtype)
        return accumulate(total, row, keys, share)

    some_array = jax.tree.leaves(item.payload)[0]
    zeros = jnp.zeros_like(some_array, shape=like.shape, dtype=like.dtype)
    total = jax.lax.fori_loop(0, plan.num_workers, add, zeros).reshape(-1)
    return total if workers.weight is not None else total / plan.num_workers
