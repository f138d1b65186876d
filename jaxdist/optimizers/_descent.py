"""Descent: from a direction to the updates, as the optimizers of optax end.

A whole optimizer is a direction that all workers know alike, and how far to go.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.aggregation import _share_momentum

LearningRate = Any  # a number, or a schedule of the step
Mask = Any | Callable[[Any], Any] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Descent:
    """The learning rate, and the decay of weights that is independent of gradients."""

    learning_rate: LearningRate
    weight_decay: Any
    mask: Mask

    def updates_of(
        self,
        direction: Any,
        updates: Any,
        params: Any,
        count: jax.Array,
        is_there: jax.Array | bool = True,
    ) -> Any:
        """Return the updates against a direction, in the dtypes of the gradients.

        Args:
          direction: In float32 or wider.
          updates: The gradients.
          params: Parameters, or None where no weight decays.
          count: Of this step, from 0.
          is_there: Whether any worker counted; else nothing moves.
        """
        rate = self.learning_rate
        rate = rate(count) if callable(rate) else rate

        def move(leaf, update):
            moved = -jnp.asarray(rate).astype(leaf.real.dtype) * leaf
            return jnp.where(is_there, moved, 0).astype(update.dtype)

        return jax.tree.map(move, self.with_decay(direction, params), updates)

    def with_decay(self, direction: Any, params: Any) -> Any:
        """Return a direction that also leads towards weights of zero."""
        if isinstance(self.weight_decay, int | float) and not self.weight_decay:
            return direction
        if params is None:
            raise ValueError(
                "`params` are needed for `weight_decay`, got None: call "
                "tx.update(updates, state, params)."
            )
        decay = optax.add_decayed_weights(self.weight_decay, self.mask)
        wide = jax.tree.map(_tree.widened, params)
        return decay.update(direction, decay.init(wide), wide)[0]


def checked_descent(
    learning_rate: LearningRate, weight_decay: Any = 0.0, mask: Mask = None
) -> Descent:
    """Return how to go on from a direction, or raise.

    Args:
      learning_rate: A number of at least 0, or a schedule.
      weight_decay: A number of at least 0.
      mask: Which weights decay: a tree of booleans, or a function that makes it.
    """
    if not callable(learning_rate):
        learning_rate = _checks.real("learning_rate", learning_rate, 0.0)
    weight_decay = _checks.real("weight_decay", weight_decay, 0.0)
    leaves = jax.tree.leaves(mask)
    if not callable(mask) and not all(isinstance(x, bool | np.bool_) for x in leaves):
        raise ValueError(
            "`mask` must be a tree of True and False like the parameters, or a "
            f"function that makes one of them, got {mask!r}."
        )
    return Descent(learning_rate, weight_decay, mask)


class Step(NamedTuple):
    """What a step is given, besides its state."""

    updates: Any  # gradients of this worker
    params: Any  # of this worker, or None
    extra: dict[str, Any]  # further arguments of tx.update
    is_there: jax.Array | bool  # whether any worker counts; equal on all workers

    def send_gradient(
        self,
        axis_name: _collectives.AxisName,
        inner: optax.GradientTransformationExtraArgs,
        inner_state: Any,
    ) -> _share_momentum.Arrived:
        """Let the gradient travel in float32 or wider, and return what all get."""
        gradient = jax.tree.map(_tree.widened, self.updates)
        return _share_momentum.make_common(
            axis_name, inner, gradient, inner_state, self.params, self.extra
        )


def whole_optimizer(
    axis_name: _collectives.AxisName,
    name: str,
    kind: Any,
    init: Any,
    direct: Callable[[Step, Any], tuple[Any, Any]],
    descent: Descent,
) -> optax.GradientTransformationExtraArgs:
    """Return the whole optimizer.

    Args:
      axis_name: Of the workers.
      name: How errors and reports call it.
      kind: The type of its state, whose first field is the count of steps.
      init: ``(params) -> state``.
      direct: ``(step, state) -> (direction, state)``, the direction in float32 or
        wider and equal on all workers.
      descent: How far it goes.
    """
    shown = f"{name}({axis_name!r})"

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, kind, name)
        _tree.check_arrays("updates", updates)
        state = _tree.arrange_made(state, init, updates)
        with _traffic.sender(init, shown):
            there = _share_momentum.any_present(axis_name, extra_args.get("weight"))
            step = Step(updates, params, extra_args, there)
            direction, after = direct(step, state)
        updates = descent.updates_of(direction, updates, params, state.count, there)
        return updates, after

    return optax.GradientTransformationExtraArgs(init, update)
