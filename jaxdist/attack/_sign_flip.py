"""Sign flip: send the opposite."""

import jax

from jaxdist import _checks
from jaxdist.attack import _inject_attack


def sign_flip(scale: float = 1.0) -> _inject_attack.Attack:
    r"""Send the updates with the opposite sign.

    .. math:: g_i \mapsto -\text{scale} \cdot g_i

    Args:
      scale: Positive factor, no unit.

    Returns:
      An attack that keeps structure, shapes and dtypes, and draws nothing.

    Raises:
      ValueError: If ``scale`` is not positive.

    Example:
      >>> print(jaxdist.sign_flip(10.0)(jnp.array([1.0, 2.0]), num_byzantine=1))
      [  1. -20.]

    References:
      Li et al., `RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
      Learning from Heterogeneous Datasets <https://arxiv.org/abs/1811.03761>`_, 2019.
    """
    _checks.real("scale", scale, 0.0, above=True)

    def corrupt(updates, key):
        del key
        return jax.tree.map(lambda leaf: -scale * leaf, updates)

    return _inject_attack.Attack(corrupt, f"sign_flip({scale})")
