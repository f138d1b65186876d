"""Screening: a rule makes one of what a worker and its neighbours hold.

The rule sees the *closed* neighbourhood as differences to the worker itself, which is
the first row, of zeros. For rules that are equivariant to translation nothing changes.
For others this is what they mean here: norms are distances from the worker, a radius
around the previous result is one around the worker, and an update of zero, where a rule
trusts nobody, leaves the worker where it is.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.gossip import _network
from jaxdist.rules import _rule


def check_rule(rule: Any) -> None:
    """Raise unless the value is a rule that compares workers with each other."""
    _checks.instance(
        "rule", rule, _rule.AggregationRule, "jaxdist.rules.trimmed_mean(2)"
    )
    if rule.takes_reference:
        raise ValueError(
            f"`rule` of mix_with_neighbors must compare parameters, got {rule.name}, "
            "which compares gradients with a reference gradient. Take monna, whose "
            "trusted worker 0 is here the worker itself."
        )


def check_neighborhoods(
    rule: _rule.AggregationRule, network: _network.Network, compressor: Any = None
) -> None:
    """Raise where a worker cannot judge those that it hears.

    Args:
      rule: The rule.
      network: Who hears whom.
      compressor: What messages are made with, or None.

    Raises:
      ValueError: If a worker has fewer neighbours than the rule needs, or others than
        the rule, or estimates of compressed messages, can tell from absent ones.
    """
    topology, num_workers = network.topology, network.num_workers
    numbers = {int(n) for p in topology.phases(num_workers) for n in p.num_heard}
    for degree in sorted(numbers):
        _check_degree(rule, topology, num_workers, degree)
    knows_absent = rule.linear or rule.contract.knows_absent
    if network.is_regular or (knows_absent and compressor is None):
        return
    what = f"`rule` {rule.name}"
    if compressor is not None:
        what += " behind `compressor`"
    raise ValueError(
        f"{what} needs equally many neighbours for all workers, which hear as many as "
        f"hear them, got {topology.name} with {min(numbers)} to {max(numbers)}. Take "
        "circulant or torus; of graphs, a regular one."
    )


def _check_degree(rule, topology, num_workers, degree):
    """Raise where a rule needs more neighbours than a worker has."""
    try:
        rule.check(degree + 1)
    except ValueError as error:
        raise ValueError(
            f"`rule` {rule.name} cannot work with the {degree} neighbours that a "
            f"worker has in {topology.name} of {num_workers} workers, got {degree + 1} "
            f"with the worker itself: {error} Take a topology with more neighbours, "
            "such as circulant(1, 2, 3, 4) with 8."
        ) from None


class Screened(NamedTuple):
    """What a rule made of a neighbourhood."""

    moves: list[jax.Array]  # of each leaf, in float32 or wider
    memory: Any  # of the rule


def screen(
    rule: _rule.AggregationRule,
    own: Sequence[jax.Array],
    neighbors: Sequence[jax.Array],
    axis_name: _collectives.AxisName,
    key: Any,
    memory: Any,
    is_there: jax.Array | None = None,
) -> Screened:
    """Return where the rule moves this worker.

    Args:
      rule: The rule.
      own: Leaves of this worker.
      neighbors: The same of its neighbours, ``[neighbours, ...]``.
      axis_name: Of the workers.
      key: Of this worker and step; None where the rule does not draw.
      memory: Of the rule.
      is_there: bool ``[neighbours]``, or None where all are.
    """
    groups = {
        _collectives.other_axes(own[group[0]], axis_name): group
        for group in _network.groups_of(own, axis_name)
    }
    dtype = _tree.accumulator_dtype(*(leaf.dtype for leaf in own))
    rows = {
        axes: _difference_rows(own, neighbors, group, dtype)
        for axes, group in groups.items()
    }
    rows = {axes: x for axes, x in rows.items() if x.size}
    moves = [jnp.zeros_like(leaf, dtype=dtype) for leaf in own]
    if not rows:
        return Screened(moves, memory)
    weight = _presence(rule, rows, is_there)
    if weight is not None:
        rows = {axes: jnp.where(weight[:, None] > 0, x, 0) for axes, x in rows.items()}
    parts = {axes: rule.contributions(x, None, weight) for axes, x in rows.items()}
    applied = _rule.apply_rule(rule, parts, _Shards(), key, memory, weight)
    for axes, moved in applied.results.items():
        pieces = _tree.split_flat(moved, (own[i].size for i in groups[axes]))
        for i, piece in zip(groups[axes], pieces, strict=True):
            moves[i] = piece.reshape(own[i].shape)
    return Screened(moves, applied.memory)


def _difference_rows(own, neighbors, group, dtype):
    """Return rows ``[1 + neighbours, n]`` of a group of leaves, the worker's first."""
    parts = []
    for i in group:
        away = neighbors[i].astype(dtype) - own[i].astype(dtype)[None]
        rows = jnp.concatenate([jnp.zeros_like(away[:1]), away])
        parts.append(rows.reshape(rows.shape[0], -1))
    return jnp.concatenate(parts, axis=1)


def _presence(rule, rows, is_there):
    """Return the weights ``[1 + neighbours]`` of who counts, or None where all do.

    A rule that tolerates nobody would pass a NaN on: for it who is not finite is
    absent. For all others it is Byzantine.
    """
    if is_there is not None:
        is_there = jnp.concatenate([jnp.ones_like(is_there[:1]), is_there])
    contract = rule.contract
    if contract.num_byzantine is None and (rule.linear or contract.knows_absent):
        bad = {
            axes: jnp.sum(~jnp.isfinite(x), axis=1).astype(x.dtype)
            for axes, x in rows.items()
        }
        finite = _Shards().total(bad, "not finite") == 0
        is_there = finite if is_there is None else finite & is_there
    return None if is_there is None else is_there.astype(jnp.float32)


class _Shards(_rule.Whole):
    """Parts are what different model axes shard."""

    def total(self, values: Mapping[Any, jax.Array], what: str) -> jax.Array:
        """Add up what is known of each of them."""
        totals = []
        for axes, value in values.items():
            if axes:
                nbytes = _tree.leaf_nbytes(value)
                name = f"({what} over the model)"
                content = _traffic.Content(name, nbytes, value.shape)
                with _traffic.contents([content]):
                    value = _collectives.psum(value, axes)
            totals.append(value)
        return functools.reduce(operator.add, totals)
