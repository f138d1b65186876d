"""Smart densities: layers keep less, the deeper they are."""

from collections.abc import Sequence
from typing import Any

from jaxdist import _checks, _tree
from jaxdist.sparsity import _layers


def smart_densities(
    params: Any,
    density: float,
    *,
    last: float = 0.3,
    residual: bool = True,
    order: Sequence[str] | None = None,
    min_ndim: int = 2,
) -> Any:
    r"""Return densities that fall with the depth of the layers, whatever the data.

    .. math:: p_l = \min\big(1, \kappa (k^2 + k)\big), \qquad k = L - l + 1,
       \qquad \sum_{l=1}^{L} p_l n_l = p N

    The last of the :math:`L` layers keeps the share that ``last`` says. What a full
    layer has no room for goes to the next ones.

    Args:
      params: As in :func:`uniform_densities`.
      density: :math:`p`, kept share of the weights that are pruned, in (0, 1], no unit.
      last: Kept share of the last layer, in (0, 1], no unit.
      residual: Whether the network has residual connections. Without them, as in VGG,
        the ratios are divided by :math:`l^2`.
      order: Names of the leaves that are pruned, such as ``"Conv_0/kernel"``, from the
        input to the output. None sorts names as people do, ``conv2`` before
        ``conv10``, which is the order of the layers only if their names say it.
      min_ndim: As in :func:`uniform_densities`.

    Returns:
      As :func:`uniform_densities` returns it.

    Raises:
      TypeError: If ``order`` is no sequence of names, or ``residual`` no bool.
      ValueError: If ``density`` or ``last`` is outside (0, 1], ``min_ndim`` is
        negative, ``params`` has fewer than two leaves to prune or ``order`` is not
        theirs; if ``last`` leaves nothing for other layers, or too much.

    Communication:
      None.

    Example:
      >>> params = [jnp.ones((64, 64)), jnp.ones((64, 64)), jnp.ones((64, 10))]
      >>> found = jaxdist.sparsity.smart_densities(params, 0.1)
      >>> print(*(f"{density:.3f}" for density in found))
      0.112 0.056 0.300

    References:
      Su et al., `Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot
      <https://arxiv.org/abs/2009.11094>`_, 2020, Section 4. Here every layer keeps at
      least one weight.
    """
    density = _layers.checked_density(density)
    last = _checks.real("last", last, 0.0, 1.0, above=True, static=True)
    _checks.flag("residual", residual)
    _checks.names("order", order)
    sizes = _layers.sizes_of_layers(params, min_ndim)
    names = _tree.ordered_names(sizes, order)
    if len(names) < 2:
        raise ValueError(f"`params` must have two leaves to prune, got {names}.")
    lengths = [sizes[name] for name in names]
    goal = int(sum(lengths) * density) - int(last * lengths[-1])
    if not 0 < goal <= sum(lengths[:-1]):
        raise ValueError(
            f"`last` must leave between 1 and {sum(lengths[:-1])} weights to the other "
            f"layers for a density of {density}, got {last}, which leaves {goal}."
        )
    shares = [*_falling_shares(lengths, goal, residual), last]
    shares = dict(zip(names, shares, strict=True))
    return _layers.density_tree(params, sizes, shares)


def _falling_shares(sizes, goal, residual):
    """Return the shares of all layers but the last, which keep ``goal`` in all."""
    depth = len(sizes)
    ratios = []
    for place in range(1, depth):
        rest = depth - place + 1
        ratios.append((rest**2 + rest) / (1 if residual else place**2))
    total = sum(ratio * size for ratio, size in zip(ratios, sizes[:-1], strict=True))
    kept = [
        goal * ratio * size / total
        for ratio, size in zip(ratios, sizes[:-1], strict=True)
    ]
    excess = 0.0
    for place, size in enumerate(sizes[:-1]):
        wanted = kept[place] + excess
        kept[place] = min(wanted, size)
        excess = wanted - kept[place]
    return [share / size for share, size in zip(kept, sizes[:-1], strict=True)]
