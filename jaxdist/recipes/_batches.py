"""Batches: one part for each worker."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _tree


def check_parts(
    path: Any, shape: tuple[int, ...], num_workers: int, before: int = 0
) -> None:
    """Raise unless a leaf of a batch has a part for each worker.

    Args:
      path: Of the leaf.
      shape: Of the leaf.
      num_workers: W, or how many workers of this process there are.
      before: 1 for local rounds, whose batches have H as the first axis.
    """
    if len(shape) > before and not shape[before] % num_workers:
        return
    wanted = (
        f"`batch` must have a leading axis that {num_workers} workers divide"
        if not before
        else f"`batch` of a local round must be [H, b, ...] with a b that "
        f"{num_workers} workers divide"
    )
    raise ValueError(f"{wanted}, but leaf {_tree.path_name(path)!r} has shape {shape}.")


def split_batch(batch: Any, num_workers: int, before: int = 0) -> Any:
    """Cut a batch into one part for each worker.

    Args:
      batch: Arrays ``[W * b, ...]``; of a local round ``[H, W * b, ...]``.
      num_workers: W.
      before: How many axes come before that of the workers.
    """

    def cut(path, leaf):
        check_parts(path, jnp.shape(leaf), num_workers, before)
        first, rest = leaf.shape[:before], leaf.shape[before + 1 :]
        return leaf.reshape(*first, num_workers, -1, *rest)

    return jax.tree.map_with_path(cut, batch)
