"""Judgement: the rule applied to a gradient of which each worker may hold a part.

Distances, and who is not finite, are over the whole gradient: what workers see of their
own parts is summed, so that all judge alike.
"""

import functools
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _geometry, _rule, _types


class Message(NamedTuple):
    """What leaves that travel together have in common."""

    route: str
    other_axes: tuple[str, ...]  # over which they vary, besides the workers'


class Axes(NamedTuple):
    """Over what a gradient is spread."""

    workers: _types.AxisName
    model: _types.AxisName | None = None  # over which leaves themselves are sharded


Rows = Mapping[Message, jax.Array]  # of each message [W, s], an anchor last


class Verdict(NamedTuple):
    """What the rule made of the rows, and what it knows of the workers."""

    merged: dict[Message, jax.Array]  # of each [s]
    weights: jax.Array | None  # [m, W] of rules that mix
    memory: Any  # of the rule
    num_nonfinite: jax.Array  # int32, shape (): workers that are not finite


def judge(
    rows: Rows,
    rule: _rule.AggregationRule,
    key: jax.Array,
    memory: Any,
    axes: Axes,
) -> Verdict:
    """Apply the rule to the rows of all messages, which are one gradient."""
    if not rows:
        return Verdict({}, None, memory, jnp.zeros((), jnp.int32))
    num_workers = _collectives.size(axes.workers)
    weights = None
    if rule.mix is None:
        finite = _finite(rows, rule, axes)
    else:
        geometry = _geometry_of(rows, axes)
        weights, memory = rule.mix(geometry, key, memory)
        finite = geometry.finite[:num_workers]
    num_nonfinite = jnp.sum(~finite, dtype=jnp.int32)
    trusted = rule.trusts(num_nonfinite, num_workers)
    merged = {
        message: jnp.where(trusted, rule.combine(part, weights), 0)
        for message, part in rows.items()
    }
    return Verdict(merged, weights, memory, num_nonfinite)


def sum_of_parts(values: Mapping[Message, Any], axes: Axes) -> Any:
    """Add up what is known of each message, where only my part or shard of it is."""
    totals = []
    for message, value in values.items():
        if message.route == "scatter":
            value = _collectives.psum(value, axes.workers)
        # What is equal on all of a model axis counts once, where a type says so.
        shards = tuple(
            name
            for name in _collectives.names_of(axes.model or ())
            if _collectives.varies(value, name)
        )
        totals.append(_collectives.psum(value, shards) if shards else value)
    return functools.reduce(operator.add, totals)


def _geometry_of(rows: Rows, axes: Axes) -> _geometry.Geometry:
    """Measure the whole gradient."""
    matrices = {
        message: _geometry.Geometry.of(part).as_matrix()
        for message, part in rows.items()
    }
    return _geometry.Geometry.from_matrix(sum_of_parts(matrices, axes))


def _finite(rows: Rows, rule: _rule.AggregationRule, axes: Axes) -> jax.Array:
    """Return who is finite, bool ``[W]``; all where the rule promises nothing."""
    if rule.contract.num_byzantine is None:
        return jnp.ones(_collectives.size(axes.workers), bool)
    bad = {
        message: (~_rule.finite_rows(part)).astype(part.dtype)
        for message, part in rows.items()
    }
    return sum_of_parts(bad, axes) == 0
