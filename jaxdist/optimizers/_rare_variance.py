"""Rare variance: Adam whose second moment is refreshed seldom, from whole gradients.

What is not linear (one over the root of v) must not see the noise of compression, and
the momentum must be common to all workers. So a step takes one of two ways. In a
refresh the gradient travels, whole or in a byte for each element, and moves both
moments. In all other steps the workers send what they would make of the momentum that
all have, with signs and feedback, and v stays. Which way is taken depends on the count
of steps alone, so that all workers take the same.

Where v is zero nothing moves: a bit cannot say zero, and a weight whose gradient is
always zero would get a step of the mean size of all others, over nothing.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.optimizers import _adam


class Refreshes(NamedTuple):
    """In which steps v is refreshed: every so many, from one step on to the next."""

    starts: tuple[int, ...]  # first steps of the phases, ascending from 0
    periods: tuple[int, ...]  # of each phase, in steps; 0 for never

    def is_due(self, count: jax.Array) -> jax.Array:
        """Return whether v is refreshed in the step of this count, from 0."""
        starts = jnp.asarray(self.starts, jnp.int32)
        phase = jnp.sum(count >= starts, dtype=jnp.int32) - 1
        period = jnp.asarray(self.periods, jnp.int32)[phase]
        since = count - starts[phase]
        return (period > 0) & (since % jnp.maximum(period, 1) == 0)

    def share(self, step: int) -> float:
        """Return the share of refreshes among the steps around this one."""
        phases = zip(self.starts, self.periods, strict=True)
        *_, period = (period for start, period in phases if start <= step)
        return 1 / period if period else 0.0


class Moments(NamedTuple):
    """What all workers know of gradients, and how they came to know it."""

    momentum: Any  # like the parameters, float32 or wider
    variance: Any  # like them and real
    whole: Any  # state of the aggregation of gradients
    sent: Any  # state of the aggregation of momenta


@dataclasses.dataclass(frozen=True, eq=False)
class RareVariance:
    """Moments of which the second is refreshed seldom."""

    axis_name: _collectives.AxisName
    decays: tuple[Any, Any]  # of the first and of the second moment
    refreshes: Refreshes
    of_gradient: optax.GradientTransformationExtraArgs
    of_momentum: optax.GradientTransformationExtraArgs

    def init(self, params: Any) -> Moments:
        """Return the moments before the first step."""
        whole = _share_momentum.init_wide(self.of_gradient, params)
        sent = _share_momentum.init_wide(self.of_momentum, params)
        return Moments(*_adam.zero_moments(self.axis_name, params), whole, sent)

    def step(
        self,
        updates: Any,
        moments: Moments,
        count: jax.Array,
        params: Any,
        extra_args: dict[str, Any],
    ) -> tuple[Moments, jax.Array]:
        """Return the moments after a step, and whether it was a refresh.

        What arrived is in them as it came, finite or not.

        Args:
          updates: Gradients of this worker.
          moments: Before.
          count: Of this step, from 0; equal on all workers.
          params: Of this worker, or None.
          extra_args: Further arguments of ``tx.update``.
        """
        share = self.refreshes.share(_traffic.recorded_step() or 0)
        decay, decay_of_variance = self.decays
        make_common = _share_momentum.make_common

        def refresh(moments):
            gradient = jax.tree.map(_tree.widened, updates)
            with _traffic.one_way(share):
                arrived = make_common(
                    *(self.axis_name, self.of_gradient, gradient),
                    *(moments.whole, params, extra_args),
                )
            squares = jax.tree.map(lambda x: jnp.abs(x) ** 2, arrived.values)
            mix = _share_momentum.moved_momentum
            return Moments(
                mix(decay, arrived.values, moments.momentum),
                mix(decay_of_variance, squares, moments.variance),
                arrived.inner_state,
                moments.sent,
            )

        def move(moments):
            wanted = _share_momentum.moved_momentum(decay, updates, moments.momentum)
            with _traffic.one_way(1 - share):
                arrived = make_common(
                    *(self.axis_name, self.of_momentum, wanted),
                    *(moments.sent, params, extra_args),
                )
            return moments._replace(momentum=arrived.values, sent=arrived.inner_state)

        is_due = self.refreshes.is_due(count)
        return jax.lax.cond(is_due, refresh, move, moments), is_due
