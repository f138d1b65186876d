"""Gaussian: send noise."""

import jax

from jaxdist import _checks
from jaxdist.attacks import _attack


def gaussian(scale: float = 200.0) -> _attack.Attack:
    r"""Send noise that knows nothing of the updates.

    .. math:: g_i \mapsto \text{scale} \cdot z, \qquad z \sim N(0, I)

    Args:
      scale: Positive standard deviation of every element, in the unit of the updates.

    Returns:
      An attack that keeps structure, shapes and dtypes. Workers and leaves draw
      independently, again at every step.

    Raises:
      ValueError: If ``scale`` is not positive.

    Communication:
      None.

    Example:
      >>> sent = jaxdist.attacks.gaussian(1.0)(jnp.ones(3), num_byzantine=1)
      >>> print(sent == jnp.ones(3))
      [ True  True False]

    References:
      Blanchard et al., `Machine Learning with Adversaries: Byzantine Tolerant Gradient
      Descent <https://arxiv.org/abs/1703.02757>`_, 2017, whose scale is the default.
    """
    scale = _checks.real("scale", scale, 0.0, above=True)

    def corrupt(updates, key):
        leaves, treedef = jax.tree.flatten(updates)
        keys = jax.random.split(key, max(1, len(leaves)))
        return treedef.unflatten(
            (scale * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=False)
        )

    return _attack.Attack(corrupt, f"gaussian({scale})", draws=True)
