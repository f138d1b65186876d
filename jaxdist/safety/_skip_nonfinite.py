"""Skip nonfinite: all workers leave out a step that is bad for one of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.workers import _skipped_step, _weight


class SkipNonfiniteState(NamedTuple):
    """State of :func:`skip_nonfinite`."""

    skipped: jax.Array  # int32, shape (): steps skipped so far; equal on all workers
    inner_state: Any  # state of the wrapped transformation


def skip_nonfinite(
    axis_name: _collectives.AxisName, inner: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    r"""Skip a step on all workers when the updates of any of them are not finite.

    .. math:: (u, s') = \begin{cases} \mathrm{inner}(g, s) &
       \text{if all elements of } g_1, \dots, g_W \text{ are finite} \\
       (0, s) & \text{else} \end{cases}

    This is ``optax.apply_if_finite`` for what communicates: that wrapper decides on
    each worker alone, so that a single NaN leaves the others waiting in a collective or
    drives the workers apart. Put it around the whole chain. In a skipped step nothing
    moves: no residual, no moment, no counter, no key.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes. Name the axes of a
        sharded model too: a shard that is not finite must stop all shards.
      inner: What handles the updates of finite steps, :func:`aggregate` included. Its
        collectives run in skipped steps too, on zeros.

    Returns:
      A transformation with the updates and the state of ``inner``, and zeros and the
      old state in a skipped step. ``skipped`` in its state counts those. A worker that
      is absent (``weight=0``) stops no step.

    Raises:
      ValueError: If ``axis_name`` is no name.
      TypeError: If ``inner`` is no transformation.

    Communication:
      That of ``inner``, and an all-reduce of 4 bytes.

    Example:
      >>> tx = jaxdist.skip_nonfinite("data", jaxdist.aggregate("data"))
      >>> workers = jax.vmap(lambda g: tx.update(g, tx.init(g)), axis_name="data")
      >>> updates, state = workers(jnp.array([[1.0], [jnp.nan]]))
      >>> print(updates.ravel(), state.skipped)
      [0. 0.] [1 1]
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    inner = optax.with_extra_args_support(inner)

    def init(params):
        return SkipNonfiniteState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, SkipNonfiniteState, "skip_nonfinite")
        with _traffic.sender(init, f"skip_nonfinite({axis_name!r})"):
            finite = _finite_everywhere(updates, extra_args.get("weight"), axis_name)
        updates, inner_state = _skipped_step.step_unless_skipped(
            finite, inner, updates, state.inner_state, params, extra_args
        )
        skipped = jnp.where(finite, state.skipped, _tree.next_count(state.skipped))
        return updates, SkipNonfiniteState(skipped, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _finite_everywhere(
    updates: Any, weight: Any, axis_name: _collectives.AxisName
) -> jax.Array:
    """Return whether all updates of all workers that are there are finite."""
    finite = _tree.is_finite(updates)
    if weight is not None:
        finite |= _weight.own_weight(weight, axis_name) == 0
    with _traffic.contents([_traffic.Content("(finite)", 4)]):
        return _collectives.psum((~finite).astype(jnp.int32), axis_name) == 0
