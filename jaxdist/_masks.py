"""Masks: which elements of each leaf are kept; known while the program is compiled."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import core

from jaxdist import _tree

_SHOWN = 8  # names of leaves in an error


def read_masks(mask: Any) -> dict[str, np.ndarray | None]:
    """Return the masks of a tree by the names of their leaves, None for a whole leaf.

    Args:
      mask: Tree of boolean arrays, or of None.
    """
    leaves = jax.tree.leaves_with_path(mask, is_leaf=lambda node: node is None)
    if all(leaf is None for _, leaf in leaves):
        raise ValueError(f"`mask` must hold an array of bools, got {mask!r}.")
    return {
        (name := _tree.path_name(path)): _read_mask(name, leaf) for path, leaf in leaves
    }


def _read_mask(name: str, mask: Any) -> np.ndarray | None:
    """Return one mask as an array of numpy."""
    if mask is None:
        return None
    is_array = isinstance(mask, np.ndarray | np.generic | jax.Array)
    if not is_array or isinstance(mask, core.Tracer) or mask.dtype != np.bool_:
        raise TypeError(
            f"`mask` leaf {name!r} must be an array of bools, known while the program "
            f"is compiled, or None, got {mask!r}."
        )
    return np.asarray(mask)


def find_mask(
    masks: Mapping[str, np.ndarray | None], name: str, leaf: Any
) -> np.ndarray | None:
    """Return the mask of a leaf, or raise where it has none of its shape."""
    if name not in masks:
        shown = ", ".join(map(repr, list(masks)[:_SHOWN]))
        raise ValueError(
            f"`mask` must have a leaf {name!r}, or None in its place, which keeps the "
            f"whole leaf; got {shown}{', ...' if len(masks) > _SHOWN else ''}."
        )
    mask = masks[name]
    if mask is not None and mask.shape != tuple(leaf.shape):
        raise ValueError(
            f"`mask` leaf {name!r} must have the shape of the whole leaf, which parts "
            "of sharded leaves and of shard_optimizer have lost: the leaf has "
            f"{tuple(leaf.shape)}, got a mask of {mask.shape}."
        )
    return mask
