"""Uniform densities: every layer keeps the same share of its weights."""

from typing import Any

from jaxdist.sparsity import _layers


def uniform_densities(params: Any, density: float, *, min_ndim: int = 2) -> Any:
    """Return the same density for every layer.

    Args:
      params: Tree of arrays, or of their shapes and dtypes.
      density: Kept share of the weights that are pruned, in (0, 1], no unit.
      min_ndim: Leaves with fewer axes, such as biases, are kept whole.

    Returns:
      Tree of floats, the kept elements of each leaf over all of it; rounded down to
      elements, of which at least one is kept. None for leaves that are kept whole.

    Raises:
      ValueError: If ``density`` is outside (0, 1], ``min_ndim`` is negative, or
        ``params`` has no leaf to prune.

    Communication:
      None.

    Example:
      >>> params = {"kernel": jnp.ones((10, 10)), "bias": jnp.ones(10)}
      >>> jaxdist.sparsity.uniform_densities(params, 0.25)
      {'bias': None, 'kernel': 0.25}
    """
    density = _layers.checked_density(density)
    sizes = _layers.sizes_of_layers(params, min_ndim)
    return _layers.density_tree(params, sizes, dict.fromkeys(sizes, density))
