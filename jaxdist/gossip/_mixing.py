"""Mixing: what a worker is moved by of what its neighbours send.

It is always a sum of differences, never one of values. Weights such as three thirds do
not sum to one in float32, and a method that remembers what it mixed adds up the error
without end. A difference is zero where all agree, whatever the weights.

A neighbour counts as absent where it says so, and where one of its numbers is not
finite: a NaN would be everywhere after few steps. Its share of the weight goes back to
the worker itself. Who is not finite itself counts nobody, so that what two workers give
each other stays the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.gossip import _network
from jaxdist.workers import _shards, _weight


class Values(NamedTuple):
    """What workers send of their leaves, and whether they are there."""

    names: Sequence[str]  # of the leaves
    leaves: Sequence[jax.Array]  # as they are sent
    is_here: jax.Array | None  # bool, shape (); None where all are
    treedef: Any  # of the tree that the leaves are of


def values_of(tree: Any, weight: Any, axis_name: _collectives.AxisName) -> Values:
    """Return what this worker sends.

    Args:
      tree: Of leaves.
      weight: What ``tx.update`` got as ``weight=``, or None.
      axis_name: Of the workers.
    """
    if _shards.declared_for(tree) is not None or _shards.axes_inside():
        raise ValueError(
            "`params` of workers that hear their neighbours must not be sharded inside "
            "of a worker: each device would send whole leaves. Give each worker one "
            "device, or let all workers meet in jaxdist.aggregate."
        )
    names, leaves, treedef = _tree.flatten_named(tree)
    leaves = _collectives.to_varying(leaves, axis_name)
    return Values(names, leaves, presence_of(weight, axis_name), treedef)


def presence_of(weight: Any, axis_name: _collectives.AxisName) -> jax.Array | None:
    """Return whether this worker is there, or None where nobody can be absent."""
    if weight is None:
        return None
    return _weight.own_weight(weight, axis_name) > 0


def hear_values(
    network: _network.Network,
    values: Values,
    letters: Any = None,
    contents: Sequence[_traffic.Content] | None = None,
) -> _network.Heard:
    """Return what neighbours send, and last whether they are there, if that is known.

    Args:
      network: Of this step.
      values: Of this worker.
      letters: ``(move) -> leaves`` in place of the values, or None.
      contents: What the leaves are, for reports; dense ones when None.
    """
    if contents is None:
        named = list(zip(values.names, values.leaves, strict=True))
        contents = _network.dense_contents(named, network.num_workers)
    sent = [leaf[None] for leaf in values.leaves]
    presence, more = [], []
    if values.is_here is not None:
        here = _collectives.to_varying(values.is_here, network.axis_name)
        presence = [here.astype(jnp.uint8)[None]]
        more = [_traffic.Content("(present)", 1)]

    def with_presence(move):
        return [leaf[None] for leaf in letters(move)] + presence

    return network.hear(
        sent + presence, [*contents, *more], with_presence if letters else None
    )


def mixed_differences(
    network: _network.Network,
    values: Values,
    heard: _network.Heard,
    weights: jax.Array | None = None,
) -> list[jax.Array]:
    r"""Return :math:`\sum_j w_{ij} (x_j - x_i)` of each leaf, in float32 or wider.

    Args:
      network: Of this step.
      values: Of this worker.
      heard: Of its neighbours.
      weights: ``[places]`` in place of those of the topology.
    """
    own = [_tree.widened(leaf) for leaf in values.leaves]
    groups = [
        (group, _tree.is_finite([own[i] for i in group]))
        for group in _network.groups_of(values.leaves, network.axis_name)
    ]
    if weights is None:
        table = network.weights(_tree.accumulator_dtype(*(x.dtype for x in own)))
        weights = network.in_places(heard, table)

    def add(totals, arrays, place):
        present = presence_in(arrays, values) & (weights[place] > 0)
        arrays = arrays[: len(own)]
        totals = list(totals)
        for group, is_finite in groups:
            counts = present & is_finite & _tree.is_finite([arrays[i] for i in group])
            for i in group:
                way = weights[place].astype(own[i].dtype) * (
                    _tree.widened(arrays[i]) - own[i]
                )
                totals[i] += jnp.where(counts, way, 0)
        return totals

    return network.each(heard, add, [jnp.zeros_like(leaf) for leaf in own])


def presence_in(arrays: Sequence[jax.Array], values: Values) -> jax.Array:
    """Return whether a neighbour and this worker are there, from what it sent."""
    if values.is_here is None:
        return jnp.asarray(True)
    return values.is_here & (arrays[len(values.leaves)] > 0)


def add_to_updates(updates: Any, moves: Sequence[jax.Array], step_size: Any) -> Any:
    """Return the updates with a share of the moves in them, in their own dtypes."""
    leaves, treedef = jax.tree.flatten(updates)

    def add(update, move):
        dtype = _tree.accumulator_dtype(update.dtype, move.dtype)
        share = jnp.asarray(step_size, dtype) * move.astype(dtype)
        return (update.astype(dtype) + share).astype(update.dtype)

    return treedef.unflatten(map(add, leaves, moves))
