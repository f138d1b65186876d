"""Weight: how much a worker counts, as `tx.update(..., weight=w)` says; 0 is absent."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _traffic
from jaxdist.workers import _shards

Weight = Any  # scalar, or a mapping from axis names to scalars


def own_weight(weight: Weight, axis_name: _collectives.AxisName) -> jax.Array:
    """Return this worker's weight, float32 of shape (), 0 where it is no weight.

    Args:
      weight: Scalar of at least 0; or a mapping to such scalars from the names of all
        axes that are communicated over, of a tuple of axes from the last.
      axis_name: Of the workers.
    """
    if isinstance(weight, Mapping):
        innermost = _collectives.names_of(axis_name)[-1]
        if innermost not in weight:
            raise ValueError(
                f"`weight` must have a number for the axis {innermost!r}, got one for "
                f"{list(weight)}."
            )
        weight = weight[innermost]
    if jnp.ndim(weight):
        raise ValueError(
            "`weight` must be one number for each worker, a scalar of at least 0, got "
            f"shape {jnp.shape(weight)}."
        )
    weight = _checks.real("weight", weight, 0.0)
    return _checks.usable_weight(jnp.asarray(weight, jnp.float32))


def gather_weights(own: jax.Array, axis_name: _collectives.AxisName) -> jax.Array:
    """Return the weights of all workers, float32 ``[W]``, equal on all of them."""
    with _traffic.contents([_traffic.Content("(weights)", 4)]):
        return _collectives.all_gather(own, axis_name)


def weight_of_levels(weight: Weight, axis_name: _collectives.AxisName) -> Weight:
    """Return the weights with which one level of a network after the other counts.

    Args:
      weight: Of this worker.
      axis_name: Of the workers; of a tuple the last axis is the innermost level.
    """
    if not isinstance(axis_name, tuple):
        return weight
    levels: dict[str, Any] = {}
    total = own_weight(weight, axis_name)
    for name in reversed(axis_name):
        levels[name] = total
        with _traffic.contents([_traffic.Content("(weights)", 4)]):
            total = _collectives.psum(total, name)
    return levels


def check_levels(
    weight: Weight, updates: Any, axis_name: _collectives.AxisName
) -> None:
    """Raise when a weight varies over more axes than the updates that it weighs.

    Args:
      weight: A scalar, typed as varying over what it varies over.
      updates: Of the workers of ``axis_name``.
      axis_name: Of these workers.
    """
    if isinstance(weight, Mapping):
        return
    if _shards.has_parts():
        raise ValueError(
            f"`weight` must be a mapping from both axes to weights where {axis_name!r} "
            "aggregates inside of shard_optimizer, such as the recipes make, got one "
            "number."
        )
    over = set(_collectives.other_axes(jnp.asarray(weight), axis_name))
    for leaf in jax.tree.leaves(updates):
        over -= set(_collectives.other_axes(leaf, axis_name))
    if over:
        names = sorted(over)
        raise ValueError(
            f"`weight` differs over {names}, over which the updates for {axis_name!r} "
            "are equal already. Give each level of the network its own weight, for "
            f"example weight={{{names[0]!r}: w, {axis_name!r}: total of w over "
            f"{names[0]!r}}}."
        )
