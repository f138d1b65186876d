"""Sequential: neighbouring layers in one fragment."""

from jaxdist import _checks
from jaxdist.fragments import _blocks, _fragments


def sequential(num_fragments: int) -> _fragments.Fragments:
    """Cut the layers into n runs of neighbours, as equal in number as they can be.

    Layers are found as :func:`strided` finds them.

    Args:
      num_fragments: n, at least 1. Fragment 0, with the first layers, is exchanged
        first.

    Returns:
      Fragments for ``data_parallel(..., outer=..., fragments=...)``. With parameters of
      fewer than n layers a recipe raises a ValueError.

    Raises:
      ValueError: If ``num_fragments`` is below 1.

    Communication:
      None.

    Example:
      >>> params = [jnp.zeros(1), jnp.ones(1), jnp.ones(1)]
      >>> first, second = jaxdist.fragments.sequential(2).split(params)
      >>> print(first[1], second[1])
      [1.] MaskedNode()

    References:
      Douillard et al., `Streaming DiLoCo with overlapping communication
      <https://arxiv.org/abs/2501.18512>`_, 2025, who compare it with the strided one.
    """
    number = _checks.integer("num_fragments", num_fragments, 1)
    return _blocks.by_blocks(
        f"sequential({number})", number, lambda index, total: index * number // total
    )
