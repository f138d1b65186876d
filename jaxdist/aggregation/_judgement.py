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

Rows = Mapping[str, jax.Array]  # of each route [W, s], an anchor last


class Verdict(NamedTuple):
    """What the rule made of the rows, and what it knows of the workers."""

    merged: dict[str, jax.Array]  # of each route [s]
    weights: jax.Array | None  # [m, W] of rules that mix
    memory: Any  # of the rule
    num_nonfinite: jax.Array  # int32, shape (): workers that are not finite


def judge(
    rows: Rows,
    rule: _rule.AggregationRule,
    key: jax.Array,
    memory: Any,
    axis_name: _types.AxisName,
) -> Verdict:
    """Apply the rule to the rows of all routes, which are one gradient."""
    if not rows:
        return Verdict({}, None, memory, jnp.zeros((), jnp.int32))
    num_workers = _collectives.size(axis_name)
    weights = None
    if rule.mix is None:
        finite = _finite(rows, rule, axis_name)
    else:
        geometry = _geometry_of(rows, axis_name)
        weights, memory = rule.mix(geometry, key, memory)
        finite = geometry.finite[:num_workers]
    num_nonfinite = jnp.sum(~finite, dtype=jnp.int32)
    trusted = rule.trusts(num_nonfinite, num_workers)
    merged = {
        route: jnp.where(trusted, rule.combine(rows[route], weights), 0)
        for route in rows
    }
    return Verdict(merged, weights, memory, num_nonfinite)


def sum_of_parts(values: Mapping[str, Any], axis_name: _types.AxisName) -> Any:
    """Add up what is known of each route: of scatter only my part is."""
    totals = dict(values)
    if "scatter" in totals:
        totals["scatter"] = _collectives.psum(totals["scatter"], axis_name)
    return functools.reduce(
        lambda left, right: jax.tree.map(operator.add, left, right), totals.values()
    )


def _geometry_of(rows: Rows, axis_name: _types.AxisName) -> _geometry.Geometry:
    """Measure the whole gradient."""
    matrices = {route: _geometry.Geometry.of(rows[route]).as_matrix() for route in rows}
    return _geometry.Geometry.from_matrix(sum_of_parts(matrices, axis_name))


def _finite(rows: Rows, rule: _rule.AggregationRule, axis_name: _types.AxisName):
    """Return who is finite, bool ``[W]``; all where the rule promises nothing."""
    if rule.contract.num_byzantine is None:
        return jnp.ones(_collectives.size(axis_name), bool)
    bad = {
        route: (~jnp.isfinite(part).all(axis=1)).astype(part.dtype)
        for route, part in rows.items()
    }
    return sum_of_parts(bad, axis_name) == 0
