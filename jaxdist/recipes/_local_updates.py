"""Local updates: rounds as a transformation, for loops that one does not own.

Workers hold parameters of their own, and one more copy, the anchor, is equal on all of
them: `params + (anchor - params)` need not be the anchor, so replicas may differ in the
last bit after an exchange, and the anchor is what to evaluate and to save.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.leader import _common
from jaxdist.workers import _arrival, _own_params, _periodic, _worker_state


class LocalUpdatesState(NamedTuple):
    """State of :func:`local_updates`."""

    count: jax.Array  # int32, shape (); equal on all workers
    inner: _worker_state.PerWorkerState  # of each worker's own steps; varies
    outer: Any  # of the displacements
    anchor: Any  # where the round began, float32 or wider; equal on all workers


def local_updates(
    axis_name: _collectives.AxisName,
    inner: optax.GradientTransformation,
    outer: optax.GradientTransformation,
    period: int,
) -> optax.GradientTransformationExtraArgs:
    r"""Take local steps, and let the workers meet every ``period`` steps.

    .. math:: y_i \leftarrow y_i + \mathrm{inner}(g_i); \quad \text{every } H\text{-th
       step} \quad x \leftarrow x + \mathrm{outer}\big(F(x - y_1, \dots, x - y_W)\big),
       \quad y_i \leftarrow x

    The rounds of ``data_parallel(..., outer=outer)`` for a training loop that calls
    ``tx.update`` once for each batch. Where the loop is yours, take the recipe: it
    stores the parameters once. This is the whole optimizer; every worker must have
    parameters of its own.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner: Optimizer of each worker's own steps; it must not communicate.
      outer: Optimizer of the displacements, with :func:`aggregate` in it.
      period: H, local steps from one exchange to the next, at least 1.

    Returns:
      A transformation that keeps structure, shapes and dtypes. ``state.anchor`` is what
      to evaluate: after an exchange a worker's parameters agree with it but for the
      rounding of one addition.

    Raises:
      TypeError: If an optimizer is none; in ``init``, if a parameter is not
        floating-point.
      ValueError: If ``period`` is below 1; in ``update``, if ``params`` is missing or
        the same on all workers, if ``inner`` communicates, or in simulated time, where
        :func:`simulate_async` takes ``outer=``.

    Communication:
      That of ``outer``, every ``period`` steps, and nothing in the steps between.

    Example:
      >>> outer = optax.chain(jaxdist.aggregate("data"), optax.sgd(1.0))
      >>> tx = jaxdist.local_updates("data", optax.sgd(0.5), outer, period=2)
      >>> def worker(params, start, target):
      ...     state = tx.init(start)
      ...     for _ in range(2):
      ...         updates, state = tx.update(params - target, state, params)
      ...         params = params + updates
      ...     return params, state.anchor
      >>> workers = jax.vmap(worker, (0, None, 0), axis_name="data")
      >>> print(*workers(jnp.zeros(2), jnp.zeros(()), jnp.array([1.0, 3.0])))
      [1.5 1.5] [1.5 1.5]

    References:
      Douillard et al., `DiLoCo: Distributed Low-Communication Training of Language
      Models <https://arxiv.org/abs/2311.08105>`_, 2023.
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    _checks.optimizer("outer", outer)
    period = _checks.integer("period", period, 1)
    inner = optax.with_extra_args_support(inner)
    outer = optax.with_extra_args_support(outer)
    name = f"local_updates({axis_name!r})"

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        with _traffic.once():
            anchor = _common.common_start(params, axis_name)
        with _traffic.silence(name, "Put it into `outer`"):
            own = inner.init(_collectives.to_varying(params, axis_name))
        return LocalUpdatesState(
            jnp.zeros((), jnp.int32),
            _worker_state.attach_axis(own, axis_name),
            outer.init(anchor),
            anchor,
        )

    def update(updates, state, params=None, *, arrival=None, **extra_args):
        _checks.own_state(state, LocalUpdatesState, "local_updates")
        if not _arrival.meets_everybody(arrival):
            raise ValueError(
                "local_updates counts the steps of all workers together, but in "
                "simulated time each has its own: give simulate_async `outer`."
            )
        _own_params.check_own_params("local_updates", params, axis_name)
        own = _worker_state.detach_axis(state.inner)
        with _traffic.silence(name, "Put it into `outer`"):
            steps, own = inner.update(updates, own, params, **extra_args)
        count = _tree.next_count(state.count)
        exchange = _Exchange(outer, params, extra_args)
        steps = _collectives.to_varying(steps, axis_name)
        steps, moved, anchor = _periodic.run_every(
            period, count, exchange, (steps, state.outer, state.anchor)
        )
        inner_state = _worker_state.attach_axis(own, axis_name)
        return steps, LocalUpdatesState(count, inner_state, moved, anchor)

    return optax.GradientTransformationExtraArgs(init, update)


# No tuple: a branch needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False)
class _Exchange:
    """The end of a round."""

    outer: optax.GradientTransformationExtraArgs
    params: Any  # of this worker, before its last step
    extra: dict[str, Any]

    def __call__(self, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        """Return the step that leads to the new anchor, and what is remembered."""
        steps, outer_state, anchor = carry

        def displace(start, own, step):
            return start - (own.astype(start.dtype) + step.astype(start.dtype))

        displacement = jax.tree.map(displace, anchor, self.params, steps)
        moves, outer_state = self.outer.update(
            displacement, outer_state, anchor, **self.extra
        )
        anchor = optax.apply_updates(anchor, moves)
        steps = jax.tree.map(
            lambda new, own, step: (new - own.astype(new.dtype)).astype(step.dtype),
            *(anchor, self.params, steps),
        )
        return steps, outer_state, anchor
