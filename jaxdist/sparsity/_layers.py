"""Layers: the leaves that are pruned, and how many elements of each are kept.

Densities are exact: the number of kept elements over the number of all, so that a mask
keeps the number that was computed. A layer without any weight would cut the network in
two, so that at least one is kept.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax

from jaxdist import _checks, _tree

_TINY = 1e-6  # elements: what rounding of float64 may have taken


def checked_density(density: Any) -> float:
    """Return the kept share of the weights that are pruned, or raise."""
    return _checks.real("density", density, 0.0, 1.0, above=True, static=True)


def sizes_of_layers(params: Any, min_ndim: Any) -> dict[str, int]:
    """Return the names of the leaves that are pruned, and their numbers of elements."""
    min_ndim = _checks.integer("min_ndim", min_ndim, 0)
    _tree.check_arrays("params", params)
    sizes = {
        name: math.prod(leaf.shape)
        for name, leaf in _tree.named_leaves(params)
        if len(leaf.shape) >= min_ndim and math.prod(leaf.shape)
    }
    _tree.check_unique(name for name, _ in _tree.named_leaves(params))
    if not sizes:
        raise ValueError(
            f"`params` must have a leaf of at least {min_ndim} axes to prune, got "
            f"{[name for name, _ in _tree.named_leaves(params)]}."
        )
    return sizes


def density_tree(
    params: Any, sizes: Mapping[str, int], shares: Mapping[str, float]
) -> Any:
    """Return the share of each leaf, rounded down to elements; None where it is whole.

    Args:
      params: The tree.
      sizes: Numbers of elements of the leaves that are pruned.
      shares: What they keep, in [0, 1].
    """

    def density(path, _):
        name = _tree.path_name(path)
        if name not in sizes:
            return None
        kept = min(sizes[name], max(1, int(shares[name] * sizes[name] + _TINY)))
        return kept / sizes[name]

    return jax.tree.map_with_path(density, params)


def kept_counts(params: Any, densities: Any) -> dict[str, int | None]:
    """Return how many elements of each leaf are kept; None where it is whole.

    Args:
      params: The tree.
      densities: Tree of numbers, or of None, with a leaf for each of ``params``.
    """
    leaves = jax.tree.leaves_with_path(densities, is_leaf=lambda node: node is None)
    if all(share is None for _, share in leaves):
        raise ValueError(f"`densities` must hold a number, got {densities!r}.")
    shares = {_tree.path_name(path): share for path, share in leaves}
    for name, share in shares.items():
        if share is not None:
            _checks.real(f"densities[{name!r}]", share, 0.0, 1.0, static=True)
    _tree.check_arrays("params", params)
    counts = {}
    for name, leaf in _tree.named_leaves(params):
        if name not in shares:
            raise ValueError(
                f"`densities` must have a leaf {name!r}, or None in its place, which "
                f"keeps the whole leaf; got {sorted(shares)}."
            )
        share = shares[name]
        counts[name] = None if share is None else round(share * leaf.size)
    return counts
