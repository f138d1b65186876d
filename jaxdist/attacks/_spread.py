"""Spread: how far attackers may go and stay among the honest updates."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.attacks import _attack, _moments
from jaxdist.geometry import _geometry

Direction = Literal["mean", "sign", "deviation"]
DIRECTIONS = get_args(Direction)
# Share of the squared distances. Their own rounding is far smaller, but float32 rounds
# the shift by 4e-4 of it when the mean is ten thousand times the deviation.
_MARGIN = 1 - 1e-3


def shifted_mean(
    name: str,
    direction_name: str,
    shift_of: Callable[[jax.Array, jax.Array], jax.Array],
) -> _attack.Attack:
    """Return the attack that sends the honest mean, shifted as far as allowed.

    Args:
      name: How errors and tables call it.
      direction_name: One of DIRECTIONS.
      shift_of: ``(honest [m, n], direction [n]) -> how far``.
    """
    _checks.one_of("direction", direction_name, DIRECTIONS)

    def craft(seen, key):
        del key
        chosen = shift_direction(seen.honest, direction_name)
        return _moments.mean_row(seen.honest) + shift_of(seen.honest, chosen) * chosen

    return _attack.colluding_attack(name, craft)


def shift_direction(honest: jax.Array, name: str) -> jax.Array:
    """Return the direction of this name, one of DIRECTIONS, against the honest mean."""
    if name == "deviation":
        return -_moments.deviation_row(honest)
    mean = _moments.mean_row(honest)
    if name == "sign":
        return -jnp.sign(mean)
    length = jnp.linalg.norm(mean)
    return -mean / jnp.where(length > 0, length, 1)


def farthest_shift(honest: jax.Array, direction: jax.Array) -> jax.Array:
    r"""Return the largest :math:`\gamma` within the honest diameter.

    The point :math:`\mu + \gamma p` is to be no farther from any honest row than two of
    these are from each other.
    """
    from_mean, slopes, between = _measure_spread(honest, direction)
    left = _MARGIN * jnp.max(between) - from_mean
    return jnp.min(_largest_root(left, slopes, jnp.sum(direction**2)))


def farthest_in_sum(honest: jax.Array, direction: jax.Array, budget: str) -> jax.Array:
    r"""Return the largest :math:`\gamma` within the honest sums of squared distances.

    The squared distances of :math:`\mu + \gamma p` from all honest rows are to sum to
    no more than the largest such sum of one of them, or the smallest.
    """
    from_mean, slopes, between = _measure_spread(honest, direction)
    sums = jnp.sum(between, axis=1)
    allowed = _MARGIN * (jnp.max(sums) if budget == "max" else jnp.min(sums))
    left = allowed - jnp.sum(from_mean)
    squared = honest.shape[0] * jnp.sum(direction**2)
    return _largest_root(left, jnp.sum(slopes), squared)


def _measure_spread(honest, direction):
    """Return squared distances from the mean, half their slopes, and those between."""
    # Relative to the mean as it is rounded, which counts when it is far from zero.
    mean = _moments.mean_row(honest)
    rows = jnp.concatenate([honest, mean[None]])
    distances = _geometry.Geometry.of(rows).squared_distances
    slopes = jnp.sum((mean[None] - honest) * direction[None], axis=1)
    return distances[-1, :-1], slopes, distances[:-1, :-1]


def _largest_root(left, slope, squared):
    r"""Return the largest :math:`\gamma` with :math:`a\gamma^2 + 2b\gamma \le c`."""
    left = jnp.maximum(left, 0)
    root = jnp.sqrt(slope**2 + squared * left)
    # Two forms of one solution, neither of which subtracts what is nearly equal.
    shift = jnp.where(
        slope > 0,
        left / jnp.where(slope > 0, slope + root, 1),
        (root - slope) / jnp.where(squared > 0, squared, 1),
    )
    return jnp.where(squared > 0, shift, 0)
