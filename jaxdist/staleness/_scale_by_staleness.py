"""Scale by staleness: what is late counts less."""

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _tree
from jaxdist.staleness import _lateness


def scale_by_staleness(power: float = 0.5) -> optax.GradientTransformationExtraArgs:
    r"""Multiply an update by a power of how late it is.

    .. math:: u = (1 + \tau)^{-p} \, g

    Put it before :func:`aggregate`, so that each worker's update counts by its own
    lateness. ``tx.update(..., staleness=tau)`` says how late it is:
    ``jaxdist.simulate_async`` does so, and :func:`delay_updates` to its ``inner``.

    Args:
      power: :math:`p \ge 0`, no unit; 0 changes nothing, 1 divides by
        :math:`1 + \tau`.

    Returns:
      A transformation without state that keeps structure, shapes and dtypes.

    Raises:
      ValueError: If ``power`` is negative; in ``update``, if ``staleness=`` is missing
        or no scalar.
      TypeError: In ``update``, if a leaf is not floating-point.

    Communication:
      None.

    Example:
      >>> tx = jaxdist.scale_by_staleness()
      >>> state = tx.init(jnp.ones(2))
      >>> print(tx.update(jnp.ones(2), state, staleness=jnp.asarray(3))[0])
      [0.5 0.5]

    References:
      Xie et al., `Asynchronous Federated Optimization
      <https://arxiv.org/abs/1903.03934>`_, 2019, the polynomial weight, with which the
      server of that paper mixes parameters.
    """
    power = _checks.real("power", power, 0.0)

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, *, staleness=None, **extra_args):
        del params, extra_args
        _tree.check_arrays("updates", updates)
        _tree.check_floats("updates", updates)
        staleness = _lateness.checked_staleness("scale_by_staleness", staleness)

        def scale(leaf):
            wide = _tree.accumulator_dtype(leaf.dtype)
            late = (1 + staleness).astype(jnp.finfo(wide).dtype)
            factor = late ** jnp.asarray(-power, late.dtype)
            return (leaf.astype(wide) * factor.astype(wide)).astype(leaf.dtype)

        return jax.tree.map(scale, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
