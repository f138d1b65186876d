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

from jaxdist import _collectives
from jaxdist.rules import _rule


class Message(NamedTuple):
    """What leaves that travel together have in common."""

    route: str
    other_axes: tuple[str, ...]  # over which they vary, besides the workers'


class Axes(NamedTuple):
    """Over what a gradient is spread."""

    workers: _collectives.AxisName
    model: _collectives.AxisName | None = (
        None  # over which leaves themselves are sharded
    )


Parts = Mapping[Message, _rule.Contributions]  # all that travelled together


def judge(
    parts: Parts,
    rule: _rule.AggregationRule,
    key: jax.Array,
    memory: Any,
    axes: Axes,
) -> _rule.Applied:
    """Apply the rule to all messages, which are one gradient."""
    if not parts:
        return _rule.Applied({}, None, memory, jnp.zeros((), jnp.int32))
    everywhere = functools.partial(sum_of_parts, axes=axes)
    return _rule.apply_rule(rule, parts, everywhere, key, memory)


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
            if _collectives.is_varying(value, name)
        )
        totals.append(_collectives.psum(value, shards) if shards else value)
    return functools.reduce(operator.add, totals)
