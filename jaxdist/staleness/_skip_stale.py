"""Skip stale: who comes too late is absent."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.staleness import _lateness
from jaxdist.workers import _skipped_step, _weight


class SkipStaleState(NamedTuple):
    """State of :func:`skip_stale`."""

    skipped: jax.Array  # int32, shape (): steps skipped so far; equal on all workers
    inner_state: Any  # state of the wrapped transformation


def skip_stale(
    axis_name: _collectives.AxisName, inner: optax.GradientTransformation, limit: int
) -> optax.GradientTransformationExtraArgs:
    r"""Let updates that are too late count as absent.

    .. math:: w_i' = \begin{cases} w_i & \text{if } \tau_i < R \\
       0 & \text{else} \end{cases}

    Workers whose update is ``limit`` steps late or more get the weight 0, with which
    :func:`aggregate` takes them for absent. When all who meet are too late, the step is
    skipped: no residual, no moment, no counter moves. Put it around
    :func:`aggregate` and all that follows.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner: What handles the updates that are not too late, :func:`aggregate` included.
        Its collectives run in skipped steps too, on zeros.
      limit: :math:`R \ge 1`, in steps; at 1 only fresh updates count.

    Returns:
      A transformation with the updates and the state of ``inner``, and zeros and the
      old state in a skipped step. ``skipped`` in its state counts those. A ``weight``
      that is given counts for those who are not too late.

    Raises:
      ValueError: If ``axis_name`` is no name or ``limit`` is below 1; in ``update``, if
        ``staleness=`` is missing or no scalar.
      TypeError: If ``inner`` is no transformation.

    Communication:
      That of ``inner`` with a ``weight``, and an all-reduce of 4 bytes.

    Example:
      >>> tx = jaxdist.skip_stale("data", jaxdist.aggregate("data"), limit=2)
      >>> def step(gradient, staleness):
      ...     return tx.update(gradient, tx.init(gradient), staleness=staleness)[0]
      >>> workers = jax.vmap(step, out_axes=None, axis_name="data")
      >>> print(workers(jnp.array([1.0, 3.0, 50.0]), jnp.array([0, 1, 2])))
      2.0

    References:
      Maranjyan, Tyurin and Richtárik, `Ringmaster ASGD
      <https://arxiv.org/abs/2501.16168>`_, 2025, which ignores gradients with delays
      of :math:`R` or more. There one worker arrives at a time; here several may meet.
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    limit = _checks.integer("limit", limit, 1)
    inner = optax.with_extra_args_support(inner)

    def init(params):
        return SkipStaleState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None, *, staleness=None, **extra_args):
        _checks.own_state(state, SkipStaleState, "skip_stale")
        staleness = _lateness.checked_staleness("skip_stale", staleness)
        with _traffic.sender(init, f"skip_stale({axis_name!r})"):
            weight = _weight_in_time(
                staleness < limit, extra_args.get("weight"), axis_name
            )
            counts = _anybody_counts(weight, axis_name)
        extra_args |= {"staleness": staleness, "weight": weight}
        updates, inner_state = _skipped_step.step_unless_skipped(
            counts, inner, updates, state.inner_state, params, extra_args
        )
        skipped = jnp.where(counts, state.skipped, _tree.next_count(state.skipped))
        return updates, SkipStaleState(skipped, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _weight_in_time(
    is_in_time: jax.Array, weight: Any, axis_name: _collectives.AxisName
) -> _weight.Weight:
    """Return the weight of this worker, 0 where it is too late, in the form it has."""
    own = jnp.ones(()) if weight is None else _weight.own_weight(weight, axis_name)
    own = jnp.where(is_in_time, own, 0)
    levels = _weight.weight_of_levels(own, axis_name)
    if not isinstance(weight, Mapping):
        return levels
    return {**weight, **(levels if isinstance(levels, Mapping) else {axis_name: own})}


def _anybody_counts(
    weight: _weight.Weight, axis_name: _collectives.AxisName
) -> jax.Array:
    """Return whether any worker is there and not too late; equal on all workers."""
    here = _weight.own_weight(weight, axis_name) > 0
    with _traffic.contents([_traffic.Content("(in time)", 4)]):
        return _collectives.psum(here.astype(jnp.int32), axis_name) > 0
