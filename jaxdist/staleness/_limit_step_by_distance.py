"""Limit step by distance: the further the parameters went on, the shorter the step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _tree
from jaxdist.staleness import _lateness


def limit_step_by_distance(
    constant: float, max_step: float
) -> optax.GradientTransformationExtraArgs:
    r"""Take a short step with a gradient of parameters that are far away by now.

    .. math:: u = -\min\left(\frac{C}{\|w - \hat{w}\|^2},\ \eta_{\max}\right) g

    Here :math:`\hat{w}` are the parameters on which the worker computed :math:`g`, and
    :math:`w` those of now. It takes the place of the learning rate. Put it before
    :func:`aggregate`, so that each worker's step has its own length: the mean of such
    steps is what :func:`aggregate` then gives.

    With learning rates that are stable anyhow it changes little. Above these it keeps
    training stable, though a well-chosen small rate ends closer to the least loss.

    Args:
      constant: :math:`C > 0`, in units of squared parameters times those of the step;
        the paper takes 0.005 · :math:`\eta_{\max}`.
      max_step: :math:`\eta_{\max} > 0`, the learning rate of gradients that are fresh.

    Returns:
      A transformation without state that keeps structure, shapes and dtypes. The norm
      is that of all leaves, in float32 or wider.

    Raises:
      ValueError: If an argument is not above 0; in ``update``, if ``params`` or
        ``stale_params=`` is missing or has another structure.
      TypeError: In ``update``, if a leaf is not floating-point.

    Communication:
      None.

    Example:
      >>> tx = jaxdist.limit_step_by_distance(constant=0.4, max_step=0.5)
      >>> now, before = jnp.array([3.0]), jnp.array([1.0])
      >>> state = tx.init(now)
      >>> print(tx.update(jnp.ones(1), state, now, stale_params=before)[0])
      [-0.1]
      >>> print(tx.update(jnp.ones(1), state, now, stale_params=now)[0])
      [-0.5]

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018, Equation 13. Where several workers
      meet in an update the paper has one step; here each worker has its own.
    """
    constant = _checks.real("constant", constant, 0.0, above=True)
    max_step = _checks.real("max_step", max_step, 0.0, above=True)

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, *, stale_params=None, **extra_args):
        del extra_args
        _tree.check_arrays("updates", updates)
        _tree.check_floats("updates", updates)
        _lateness.checked_stale_params("limit_step_by_distance", params, stale_params)
        _tree.check_floats("params", params)
        squared = _squared_distance(params, stale_params)
        limit = jnp.asarray(constant, squared.dtype)
        longest = jnp.asarray(max_step, squared.dtype)
        # Fresh gradients have distance 0: divide only where the quotient is the step.
        is_far = squared * longest > limit
        step = jnp.where(is_far, limit / jnp.where(is_far, squared, 1), longest)

        def move(leaf):
            wide = _tree.accumulator_dtype(leaf.dtype)
            return (-step.astype(wide) * leaf.astype(wide)).astype(leaf.dtype)

        return jax.tree.map(move, updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def _squared_distance(left: Any, right: Any) -> jax.Array:
    """Return the squared distance of two trees, in float32 or wider."""
    total = jnp.zeros((), jnp.float32)
    for one, other in zip(*map(jax.tree.leaves, (left, right)), strict=True):
        wide = _tree.accumulator_dtype(one.dtype)
        apart = jnp.abs(one.astype(wide) - other.astype(wide))
        square = jnp.sum(apart * apart)
        dtype = _tree.accumulator_dtype(total.dtype, square.dtype)
        total = total.astype(dtype) + square.astype(dtype)
    return total
