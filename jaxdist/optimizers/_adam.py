"""Adam: its two moments, of gradients that all workers know alike."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives
from jaxdist.aggregation import _share_momentum


class AdamMoments(NamedTuple):
    """Moments with the bias of their start at zero."""

    momentum: Any  # like the parameters, float32 or wider; equal on all workers
    variance: Any  # like them and real


@dataclasses.dataclass(frozen=True, eq=False)
class Adam:
    """The decays of both moments, and what is added to the root."""

    b1: Any
    b2: Any
    eps: Any

    def step(
        self, gradient: Any, before: AdamMoments, count: Any, is_there: Any
    ) -> tuple[Any, AdamMoments]:
        """Return the direction, and the moments, which keep what is finite.

        Args:
          gradient: Equal on all workers, float32 or wider.
          before: Moments before the step.
          count: Of this step, from 1.
          is_there: Whether any worker counts.
        """
        squares = jax.tree.map(lambda x: jnp.abs(x) ** 2, gradient)
        moved = _share_momentum.moved_momentum
        momentum = moved(self.b1, gradient, before.momentum)
        keep = _share_momentum.keep_finite
        kept = keep(momentum, before.momentum, is_there)
        variance = moved(self.b2, squares, before.variance)
        variance = keep(variance, before.variance, is_there)
        direction = direction_of(
            without_bias(momentum, self.b1, count),
            without_bias(variance, self.b2, count),
            self.eps,
        )
        return direction, AdamMoments(kept, variance)


def checked_adam(b1: Any, b2: Any, eps: Any) -> Adam:
    """Return Adam with these numbers, or raise."""
    b1 = _checks.real("b1", b1, 0.0, 1.0, below=True)
    b2 = _checks.real("b2", b2, 0.0, 1.0, below=True)
    return Adam(b1, b2, _checks.real("eps", eps, 0.0))


def zero_moments(axis_name: _collectives.AxisName, params: Any) -> AdamMoments:
    """Return the moments before the first step."""
    zeros = _share_momentum.common_zeros
    real = jax.tree.map(jnp.real, params)
    return AdamMoments(zeros(axis_name, params), zeros(axis_name, real))


def direction_of(momentum: Any, variance: Any, eps: Any, max_ratio: Any = None) -> Any:
    """Return m over the root of v, and 0 where v is 0.

    Args:
      momentum: Without its bias.
      variance: Without its bias.
      eps: Added to the root.
      max_ratio: The most that the result may be, or None.
    """

    def ratio(m, v):
        root = jnp.sqrt(jnp.where(v > 0, v, 1)) + eps
        bounded = m / root
        if max_ratio is not None:
            size = jnp.abs(bounded)
            bounded = jnp.where(size > max_ratio, bounded * (max_ratio / size), bounded)
        return jnp.where(v > 0, bounded, 0)

    return jax.tree.map(ratio, momentum, variance)


def without_bias(moment: Any, decay: Any, count: jax.Array) -> Any:
    """Return a moment of so many steps as if it had not started at zero.

    Args:
      moment: A tree.
      decay: Its decay.
      count: Steps in it, int32, shape (); of none it stays zero.
    """

    def scale(leaf):
        real = leaf.real.dtype
        known = 1 - jnp.asarray(decay, real) ** jnp.maximum(count, 1).astype(real)
        return leaf / known

    return jax.tree.map(scale, moment)
