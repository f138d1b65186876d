"""Magnitude mask: the largest weights of each layer are kept."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.sparsity import _layers


def magnitude_mask(params: Any, densities: Any) -> Any:
    """Keep the weights of largest magnitude in each layer.

    Args:
      params: Tree of arrays: the weights that are compared, usually trained ones.
      densities: Tree of floats in [0, 1], as :func:`smart_densities` returns; None
        keeps a leaf whole.

    Returns:
      Tree of boolean arrays with the shapes of ``params``, True for what is kept, and
      None where ``densities`` has None. Of equal magnitudes the first is kept, and NaN
      last of all.

    Raises:
      ValueError: If a density is outside [0, 1], or a leaf has none.

    Communication:
      None. The mask is the same on all workers if their weights are.

    Example:
      >>> params = {"kernel": jnp.array([[3.0, -4.0], [1.0, 2.0]])}
      >>> mask = jaxdist.sparsity.magnitude_mask(params, {"kernel": 0.5})
      >>> print(mask["kernel"])
      [[ True  True]
       [False False]]

    References:
      Su et al., `Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot
      <https://arxiv.org/abs/2009.11094>`_, 2020: with :func:`smart_densities` of
      trained weights, their hybrid tickets.
    """
    counts = _layers.kept_counts(params, densities)

    def choose(path, leaf):
        kept = counts[_tree.path_name(path)]
        if kept is None:
            return None
        places = jnp.argsort(-jnp.abs(leaf.reshape(-1)), stable=True)  # NaN goes last
        mask = jnp.zeros_like(leaf, shape=(leaf.size,), dtype=bool)
        return mask.at[places[:kept]].set(True).reshape(leaf.shape)

    return jax.tree.map_with_path(choose, params)
