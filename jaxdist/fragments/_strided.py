"""Strided: every n-th layer in one fragment."""

from jaxdist import _checks
from jaxdist.fragments import _blocks, _fragments


def strided(num_fragments: int) -> _fragments.Fragments:
    """Give every n-th layer to one fragment: layer i to fragment i mod n.

    A layer is what has one name up to the first number in it: ``layers/3/mlp/kernel``
    belongs to ``layers/3``. Where there is no number, it is what stands together, as
    ``embed/kernel`` and ``embed/bias`` do; a leaf at the top of the tree is a layer of
    its own. Layers count in the order of the tree, and by their numbers, so that
    ``layers_10`` comes after ``layers_2``. Layers that one leaf holds, stacked for a
    scan, are not cut.

    Args:
      num_fragments: n, at least 1. Fragment 0 is exchanged first.

    Returns:
      Fragments for ``data_parallel(..., outer=..., fragments=...)``. With parameters of
      fewer than n layers a recipe raises a ValueError.

    Raises:
      ValueError: If ``num_fragments`` is below 1.

    Communication:
      None.

    Example:
      >>> params = [jnp.zeros(1), jnp.ones(1), jnp.ones(1)]
      >>> first, second = jaxdist.fragments.strided(2).split(params)
      >>> print(len(jax.tree.leaves(first)), len(jax.tree.leaves(second)))
      2 1

    References:
      Douillard et al., `Streaming DiLoCo with overlapping communication
      <https://arxiv.org/abs/2501.18512>`_, 2025, whose choice this is.
    """
    number = _checks.integer("num_fragments", num_fragments, 1)
    return _blocks.by_blocks(
        f"strided({number})", number, lambda index, total: index % number
    )
