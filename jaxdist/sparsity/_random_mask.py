"""Random mask: which weights are kept, at random in each layer."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _random, _tree
from jaxdist.sparsity import _layers


def random_mask(params: Any, densities: Any, key: int | jax.Array = 0) -> Any:
    """Keep a uniformly random subset of each layer, of exactly the asked size.

    Args:
      params: Tree of arrays, or of their shapes and dtypes.
      densities: Tree of floats in [0, 1], as :func:`smart_densities` returns; None
        keeps a leaf whole.
      key: Seed or key; each leaf draws with its name. Workers that use the same one
        have the same mask.

    Returns:
      Tree of boolean arrays with the shapes of ``params``, True for what is kept, and
      None where ``densities`` has None.

    Raises:
      ValueError: If a density is outside [0, 1], or a leaf has none.
      TypeError: If ``key`` is no key.

    Communication:
      None: workers draw alike.

    Example:
      >>> params = {"kernel": jnp.ones((10, 10)), "bias": jnp.ones(10)}
      >>> densities = jaxdist.sparsity.uniform_densities(params, 0.25)
      >>> mask = jaxdist.sparsity.random_mask(params, densities, key=1)
      >>> print(mask["kernel"].sum(), mask["bias"])
      25 None

    References:
      Su et al., `Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot
      <https://arxiv.org/abs/2009.11094>`_, 2020.
    """
    common = _random.as_key(key)
    counts = _layers.kept_counts(params, densities)

    def draw(path, leaf):
        name = _tree.path_name(path)
        count = counts[name]
        if count is None:
            return None
        places = jax.random.permutation(_random.named_key(common, name), leaf.size)
        return jnp.reshape(places < count, leaf.shape)

    return jax.tree.map_with_path(draw, params)
