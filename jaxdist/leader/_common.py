"""Common: what all workers hold alike, though each has parameters of its own."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _traffic, _tree


def common_start(params: Any, axis_name: _collectives.AxisName) -> Any:
    """Return the parameters with which workers start, in float32 or wider.

    Workers that start apart get their mean. The mean is taken around the first of them,
    so that it is exact where all start alike.

    Args:
      params: Of this worker, or of all where the type says so.
      axis_name: Of the workers; where nothing maps it, all are taken to start alike.
    """
    names = _collectives.names_of(axis_name)

    def start(leaf):
        # A copy: a state that shared buffers with parameters could not be donated.
        own = jnp.array(leaf, _tree.accumulator_dtype(leaf.dtype))
        is_own = any(_collectives.is_varying(leaf, name) for name in names)
        if not (is_own and _collectives.is_bound(axis_name)):
            return own
        first = _collectives.from_worker(own, jnp.zeros((), jnp.int32), axis_name)
        total = _collectives.psum(own - first, axis_name)
        return first + total / _collectives.axis_size(axis_name)

    return jax.tree.map(start, params)


def check_common(
    transformation: str, common: Any, params: Any, axis_name: _collectives.AxisName
) -> None:
    """Raise where groups of workers differ, and one for all groups is remembered.

    Args:
      transformation: How errors call it.
      common: What was remembered, like the parameters.
      params: Of this worker.
      axis_name: Of the workers of one group.
    """

    def other_axes(tree):
        leaves = jax.tree.leaves(tree)
        return {x for leaf in leaves for x in _collectives.other_axes(leaf, axis_name)}

    groups = sorted(other_axes(params) - other_axes(common))
    if groups:
        raise _checks.LayoutError(
            f"`params` differ over {groups}, over which the state of {transformation} "
            f"is equal: name these axes too, next to {axis_name!r}, or make the state "
            "where parameters differ already, with tx.init inside of the shard_map."
        )


def leaf_contents(
    leaves: Any, axis_name: _collectives.AxisName
) -> list[_traffic.Content]:
    """Return what an all-reduce of the leaves holds."""
    num_workers = _collectives.axis_size(axis_name)
    return [
        _traffic.Content(
            name,
            _collectives.psum_nbytes(leaf),
            leaf.shape,
            "identity()",
            dense=_traffic.all_reduce_bytes(_tree.leaf_nbytes(leaf), num_workers),
        )
        for name, leaf in _tree.named_leaves(leaves)
    ]
