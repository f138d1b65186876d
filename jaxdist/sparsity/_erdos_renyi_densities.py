"""Erdős-Rényi densities: small layers keep more, by the lengths of their axes."""

import math
from typing import Any

from jaxdist import _tree
from jaxdist.sparsity import _layers


def erdos_renyi_densities(params: Any, density: float, *, min_ndim: int = 2) -> Any:
    r"""Return densities in proportion to the axes of each layer over its weights.

    .. math:: p_l = \min\Big(1, \varepsilon\,
       \frac{\sum_i s_{l,i}}{\prod_i s_{l,i}}\Big), \qquad \sum_l p_l n_l = p N

    Layers for which the formula says more than all of their weights are kept whole, and
    :math:`\varepsilon` is found again for the others.

    Args:
      params: As in :func:`uniform_densities`.
      density: :math:`p`, kept share of the weights that are pruned, in (0, 1], no unit.
      min_ndim: As in :func:`uniform_densities`.

    Returns:
      As :func:`uniform_densities` returns it.

    Raises:
      ValueError: As :func:`uniform_densities` raises.

    Communication:
      None.

    Example:
      >>> params = {"in": jnp.ones((64, 256)), "out": jnp.ones((256, 10))}
      >>> found = jaxdist.sparsity.erdos_renyi_densities(params, 0.05)
      >>> print(f"{found['in']:.3f} {found['out']:.3f}")
      0.032 0.168

    References:
      Evci et al., `Rigging the Lottery: Making All Tickets Winners
      <https://arxiv.org/abs/1911.11134>`_, 2020: the kernel variant, ERK, in which
      the axes of a convolution count too.
    """
    density = _layers.checked_density(density)
    sizes = _layers.sizes_of_layers(params, min_ndim)
    axes = {name: sum(leaf.shape) for name, leaf in _tree.named_leaves(params)}
    ratios = {name: axes[name] / size for name, size in sizes.items()}
    return _layers.density_tree(params, sizes, _bounded_shares(ratios, sizes, density))


def _bounded_shares(ratios, sizes, density):
    """Return shares in these ratios, none above 1, of ``density`` on average."""
    whole: set[str] = set()
    while True:
        wanted = density * sum(sizes.values()) - sum(sizes[name] for name in whole)
        others = ratios.keys() - whole
        weight = math.fsum(ratios[name] * sizes[name] for name in others)
        scale = wanted / weight if others else 0.0
        above = {name for name in others if scale * ratios[name] > 1}
        if not above:
            return {n: 1.0 if n in whole else scale * ratios[n] for n in ratios}
        whole |= above
