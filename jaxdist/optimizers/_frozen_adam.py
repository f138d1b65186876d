"""Frozen Adam: what the optimizers have in common whose variance stands still."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.optimizers import _adam, _descent, _rare_variance, _ways


class Ways(NamedTuple):
    """How gradients and momenta travel, as the user said it."""

    rule: Any
    compressor: Any  # of momenta
    downlink: Any
    whole_compressor: Any  # of gradients
    whole_downlink: Any
    key: Any


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenAdam:
    """Adam with a variance that is refreshed seldom."""

    moments: _rare_variance.RareVariance
    eps: Any
    max_ratio: Any

    def init(self, kind: Any, params: Any) -> Any:
        """Return the state before the first step."""
        zero = jnp.zeros((), jnp.int32)
        return kind(zero, zero, *self.moments.init(params))

    def step(self, step: _descent.Step, state: Any) -> tuple[Any, tuple[Any, ...]]:
        """Return the direction, and the fields of the next state.

        Args:
          step: Gradients of this worker, and what goes with them.
          state: With the fields of an :class:`OneBitAdamState`.
        """
        before = _rare_variance.Moments(*state[2:6])
        after, is_due = self.moments.step(
            step.updates, before, state.count, step.params, step.extra
        )
        keep = _share_momentum.keep_finite
        momentum = keep(after.momentum, before.momentum, step.is_there)
        variance = keep(after.variance, before.variance, step.is_there)
        count = _tree.next_count(state.count)
        refreshes = state.refreshes + (is_due & step.is_there).astype(jnp.int32)
        b1, b2 = self.moments.decays
        direction = _adam.direction_of(
            _adam.without_bias(after.momentum, b1, count),
            _adam.without_bias(variance, b2, refreshes),
            self.eps,
            self.max_ratio,
        )
        return direction, (count, refreshes, momentum, variance, *after[2:])


def frozen_adam(
    axis_name: _collectives.AxisName,
    b1: Any,
    b2: Any,
    eps: Any,
    max_ratio: Any,
    refreshes: _rare_variance.Refreshes,
    ways: Ways,
) -> FrozenAdam:
    """Check the arguments, and bind them.

    Args:
      axis_name: Of the workers.
      b1: Decay of the momentum.
      b2: Decay of the variance.
      eps: Added to the root.
      max_ratio: The most that a direction may be, or None.
      refreshes: When gradients travel.
      ways: How they do, and momenta.
    """
    adam = _adam.checked_adam(b1, b2, eps)
    if max_ratio is not None:
        max_ratio = _checks.real("max_ratio", max_ratio, 0.0, above=True)
    of_momentum = _ways.bind_way(
        *(axis_name, ways.rule, ways.compressor, ways.downlink, ways.key),
        default=_ways.signs(),
    )
    of_gradient = _ways.bind_way(
        *(axis_name, ways.rule, ways.whole_compressor, ways.whole_downlink, ways.key)
    )
    moments = _rare_variance.RareVariance(
        axis_name, (adam.b1, adam.b2), refreshes, of_gradient, of_momentum
    )
    return FrozenAdam(moments, adam.eps, max_ratio)


def frozen_after(
    warm_up: Any,
    axis_name: _collectives.AxisName,
    b1: Any,
    b2: Any,
    eps: Any,
    max_ratio: Any,
    ways: Ways,
) -> FrozenAdam:
    """Do the same for a variance that is refreshed in each step of a warm-up alone.

    Args:
      warm_up: Steps, at least 1.
      axis_name: Of the workers.
      b1: Decay of the momentum.
      b2: Decay of the variance.
      eps: Added to the root.
      max_ratio: The most that a direction may be, or None.
      ways: How gradients travel in the warm-up, and momenta after it.
    """
    warm_up = _checks.integer("warm_up", warm_up, 1)
    _ways.check_compressors(warm_up_compressor=ways.whole_compressor)
    refreshes = _rare_variance.Refreshes((0, warm_up), (1, 0))
    return frozen_adam(axis_name, b1, b2, eps, max_ratio, refreshes, ways)


def optimizer_of(
    name: str, kind: Any, adam: FrozenAdam, descent: _descent.Descent
) -> optax.GradientTransformationExtraArgs:
    """Return the whole optimizer.

    Args:
      name: How errors and reports call it.
      kind: The type of its state, with the fields of an :class:`OneBitAdamState`.
      adam: Where it goes.
      descent: How far.
    """

    def init(params):
        return adam.init(kind, params)

    def direct(step, state):
        direction, fields = adam.step(step, state)
        return direction, kind(*fields)

    axis_name = adam.moments.axis_name
    return _descent.whole_optimizer(axis_name, name, kind, init, direct, descent)
