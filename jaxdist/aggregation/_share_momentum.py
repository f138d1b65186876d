"""Share momentum: one momentum for all workers, who send what they would make of it.

Compressed gradients before an optimizer lose most where its momentum averages their
errors too late, or where each worker averages alone and the workers' momenta drift
apart. Here every worker adds its gradient to the momentum that all have, the sums
travel, and what arrives is the new momentum of all.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.workers import _weight


class ShareMomentumState(NamedTuple):
    """State of :func:`share_momentum`."""

    momentum: Any  # like the parameters, float32 or wider; equal on all workers
    inner_state: Any  # state of the wrapped transformation


class Arrived(NamedTuple):
    """What all workers have got alike, and how."""

    values: Any  # float32 or wider; equal on all workers
    inner_state: Any  # of what made one of W


def share_momentum(
    axis_name: _collectives.AxisName,
    inner: optax.GradientTransformation,
    decay: float = 0.9,
) -> optax.GradientTransformationExtraArgs:
    r"""Aggregate what each worker would make of the momentum that all have.

    .. math:: m \leftarrow F\big(\beta m + (1 - \beta) g_1, \dots,
       \beta m + (1 - \beta) g_W\big)

    Any compressor, rule, route and way back may stand in ``inner``. Put it first in a
    chain; the optimizer behind it needs no momentum of its own:
    ``chain(share_momentum("data", aggregate("data", rule, compressor)), sgd(0.1))``.
    The first steps are small, since :math:`m` starts at zero.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner: What makes one of W: :func:`aggregate`, or a chain with it.
      decay: :math:`\beta` in [0, 1), no unit.

    Returns:
      A transformation that keeps structure, shapes and dtypes. Its updates are the new
      momentum, equal on all workers. It is stored once, and travels, in float32 or
      wider. Where what arrives is not finite the updates are not, but the momentum
      keeps its value. Where all workers are absent (``weight=0``) the updates are 0,
      and the momentum stays.

    Raises:
      TypeError: If ``inner`` is no transformation.
      ValueError: If ``decay`` is outside [0, 1); in ``update``, if what ``inner``
        returns differs between workers.

    Communication:
      That of ``inner``; with ``weight`` an all-reduce of 4 bytes more.

    Example:
      >>> signs = jaxdist.compression.error_feedback(jaxdist.compression.scaled_sign())
      >>> tx = jaxdist.share_momentum(
      ...     "data", jaxdist.aggregate("data", compressor=signs), decay=0.5
      ... )
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))[0]
      >>> workers = jax.vmap(step, out_axes=None, axis_name="data")
      >>> print(workers(jnp.array([[4.0, 4.0], [2.0, 2.0]])))
      [1.5 1.5]

    References:
      Tang et al., `1-bit Adam: Communication Efficient Large-Scale Training with Adam's
      Convergence Speed <https://arxiv.org/abs/2102.02888>`_, 2021, Algorithm 1, lines 6
      to 11.
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    decay = _checks.real("decay", decay, 0.0, 1.0, below=True)
    inner = optax.with_extra_args_support(inner)
    name = f"share_momentum({axis_name!r})"

    def init(params):
        inner_state = init_wide(inner, params)
        return ShareMomentumState(common_zeros(axis_name, params), inner_state)

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, ShareMomentumState, "share_momentum")
        _tree.check_arrays("updates", updates)
        state = _tree.arrange_made(state, init, updates)
        with _traffic.sender(init, name):
            there = any_present(axis_name, extra_args.get("weight"))
        moved = moved_momentum(decay, updates, state.momentum)
        arrived = make_common(
            axis_name, inner, moved, state.inner_state, params, extra_args
        )

        def narrow(leaf, update):
            return jnp.where(there, leaf, 0).astype(update.dtype)

        momentum = keep_finite(arrived.values, state.momentum, there)
        updates = jax.tree.map(narrow, arrived.values, updates)
        return updates, ShareMomentumState(momentum, arrived.inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def init_wide(inner: optax.GradientTransformation, params: Any) -> Any:
    """Return the state of what will get updates in float32 or wider."""
    _tree.check_arrays("params", params)
    _tree.check_floats("params", params)
    return inner.init(jax.tree.map(_tree.widened, params))


def common_zeros(axis_name: _collectives.AxisName, params: Any) -> Any:
    """Return wide zeros like the parameters, equal on all workers and typed so.

    Args:
      axis_name: Of the workers.
      params: Of all workers, or of this one where each has its own.
    """
    names = _collectives.names_of(axis_name)

    def is_own(leaf):
        return any(
            _collectives.types_tracked(name) and _collectives.is_varying(leaf, name)
            for name in names
        )

    def zeros(leaf):
        alike = _tree.wide_zeros(leaf)  # sharded as its leaf is
        if not is_own(leaf):
            return alike
        others = _collectives.other_axes(leaf, axis_name)
        return _collectives.to_varying(jnp.zeros(leaf.shape, alike.dtype), others)

    return jax.tree.map(zeros, params)


def moved_momentum(decay: Any, updates: Any, momentum: Any) -> Any:
    """Return what this worker would make of a momentum, in the dtype of that.

    Args:
      decay: Of the momentum.
      updates: Of this worker.
      momentum: That all workers have.
    """

    def move(leaf, old):
        return decay * old + (1 - decay) * leaf.astype(old.dtype)

    return jax.tree.map(move, updates, momentum)


def make_common(
    axis_name: _collectives.AxisName,
    inner: optax.GradientTransformationExtraArgs,
    wanted: Any,
    inner_state: Any,
    params: Any,
    extra_args: dict[str, Any],
) -> Arrived:
    """Let what each worker wants travel, and return what all get.

    Args:
      axis_name: Of the workers.
      inner: What makes one of W.
      wanted: Of this worker, float32 or wider.
      inner_state: As :func:`init_wide` made it.
      params: Of this worker, or None.
      extra_args: Further arguments of ``tx.update``.
    """
    wide = None if params is None else jax.tree.map(_tree.widened, params)
    values, inner_state = inner.update(wanted, inner_state, wide, **extra_args)
    check_aggregated(axis_name, values)
    return Arrived(values, inner_state)


def keep_finite(new: Any, old: Any, is_there: jax.Array | bool) -> Any:
    """Return what is new where it is finite and anybody was there, else the old.

    Args:
      new: Just made.
      old: Of the same structure.
      is_there: Whether any worker counted.
    """

    def keep(new, old):
        return jnp.where(jnp.isfinite(new) & is_there, new, old)

    return jax.tree.map(keep, new, old)


def any_present(
    axis_name: _collectives.AxisName, weight: _weight.Weight | None
) -> jax.Array | bool:
    """Return whether any worker counts; equal on all workers.

    Args:
      axis_name: Of the workers.
      weight: What ``tx.update`` got as ``weight=``, or None.
    """
    if weight is None:
        return True
    here = (_weight.own_weight(weight, axis_name) > 0).astype(jnp.int32)
    here = _collectives.to_varying(here, axis_name)
    with _traffic.contents([_traffic.Content("(present)", 4)]):
        return _collectives.psum(here, axis_name) > 0


def check_aggregated(axis_name: _collectives.AxisName, updates: Any) -> None:
    """Raise for what a common state cannot hold, since each worker has another."""
    for name, leaf in _tree.named_leaves(updates):
        if (
            leaf.size
            and _collectives.types_tracked(axis_name)
            and _collectives.is_varying(leaf, axis_name)
        ):
            raise _checks.LayoutError(
                f"`inner` must make one of W updates, but leaf {name!r} differs "
                f"between the workers of {axis_name!r}: got no jaxdist.aggregate("
                f"{axis_name!r}, ...) over them."
            )
