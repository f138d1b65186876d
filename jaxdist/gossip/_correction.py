"""Correction: what is added to each worker's updates, summed up from its moves."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _tree
from jaxdist.workers import _worker_state


def init_correction(
    params: Any, axis_name: _collectives.AxisName
) -> _worker_state.PerWorkerState:
    """Return corrections of 0, in float32 or wider."""
    return _worker_state.attach_axis(jax.tree.map(_tree.wide_zeros, params), axis_name)


def load_correction(updates: Any, state: Any) -> list[jax.Array]:
    """Return the correction of each leaf, by its name in any container."""
    named = _tree.named_leaves(updates)
    found = dict(_tree.named_leaves(_worker_state.detach_axis(state)))
    for name, leaf in named:
        if name not in found or found[name].shape != leaf.shape:
            raise ValueError(
                f"`state` has no correction of shape {leaf.shape} for {name!r}: it was "
                "made for other parameters."
            )
    return [found[name] for name, _ in named]


def add_moves(
    correction: list[jax.Array], moves: list[jax.Array], share: float
) -> list[jax.Array]:
    """Return the corrections with a share of the moves in them."""
    return [
        old + jnp.asarray(share, old.dtype) * move.astype(old.dtype)
        for old, move in zip(correction, moves, strict=True)
    ]
