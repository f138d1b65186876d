"""The saddle point of a filter: how ill workers are predicted by mixtures of many.

In the direction where the worst predictions are worst, for the best mixtures. The
largest eigenvalue, which the mixtures make small, has corners where directions tie; a
smooth maximum of all eigenvalues, less than a hundredth above it, has none, and an
accelerated descent finds its minimum. The smooth maximum weighs the directions too.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry
from jaxdist.rule import _spectrum

_STEPS = 200
_SMOOTHNESS = 0.01  # of the value, by which the smooth maximum may lie above it
_ROUNDING = 1e-6  # of the value, which no descent is asked for
_HALVINGS = 40  # of an interval, to a rounding unit


class _Descent(NamedTuple):
    """Where an accelerated descent is, and how it goes on."""

    mixtures: jax.Array  # [W, W]: columns are what predicts each worker
    ahead: jax.Array  # [W, W]: the same, a little farther on
    momentum: jax.Array  # ()
    steepness: jax.Array  # (): by how much the slope changes, at most, on the way
    width: jax.Array  # (): within which eigenvalues are as good as equal


class _View(NamedTuple):
    """What mixtures leave over."""

    value: jax.Array  # (): the smooth maximum of the eigenvalues
    directions: jax.Array  # [W, W]: squares of where workers lie along the worst ones


def measure(
    geometry: _geometry.Geometry, counts: jax.Array, most: float
) -> _spectrum.Spectrum:
    """Measure the workers, each counted ``counts [W]`` times, from 0 to 1.

    Args:
      geometry: How they lie to each other.
      counts: How much each counts.
      most: What a worker may weigh in a mixture.
    """
    counted = counts > 0
    total = jnp.sum(counts)
    products, scale = _spectrum.products_around(geometry, counts / total)
    allowed = jnp.where(counted, jnp.maximum(most, 1 / jnp.sum(counted)), 0)
    itself = jnp.eye(counts.size, dtype=products.dtype)

    def look(mixtures, width):
        """Return the smooth maximum of what is left over, and its directions."""
        left = (itself - mixtures) * jnp.sqrt(counts)[None]
        seen = _geometry.product(products, left)
        variances, vectors = jnp.linalg.eigh(_geometry.product(left.T, seen))
        shares = jnp.exp((variances - variances[-1]) / width)
        value = variances[-1] + width * jnp.log(jnp.sum(shares))
        tiny = jnp.finfo(seen.dtype).tiny
        shares /= jnp.sum(shares) * jnp.maximum(variances, tiny)
        places = _geometry.product(seen, vectors)
        return _View(value, _geometry.product(places * shares[None], places.T))

    def advance(turn, at):
        del turn
        here = look(at.ahead, at.width)
        pulls = _geometry.product(here.directions, itself - at.ahead)
        slope = -2 * pulls * counts[None]
        reached = _into_simplex(at.ahead - slope / at.steepness, allowed)
        way = reached - at.ahead
        length = at.steepness / 2 * jnp.sum(way**2)
        promised = here.value * (1 + _ROUNDING) + jnp.sum(slope * way) + length
        value = look(reached, at.width).value
        onward = _onward(at, reached)._replace(
            steepness=0.9 * at.steepness, width=jnp.minimum(at.width, width_of(value))
        )
        again = at._replace(steepness=2 * at.steepness)
        return _where(value <= promised, onward, again)

    def width_of(value):
        width = _SMOOTHNESS / math.log(counts.size + 1) * value
        return jnp.maximum(width, jnp.finfo(value.dtype).tiny)

    start = jnp.broadcast_to((counts / total)[:, None], itself.shape)
    start = _into_simplex(start, allowed)
    one, no_width = jnp.ones_like(total), jnp.finfo(products.dtype).tiny
    first = _Descent(start, start, one, one, width_of(look(start, no_width).value))
    last = jax.lax.fori_loop(0, _STEPS, advance, first)
    left = itself - last.mixtures
    directions = look(last.mixtures, last.width).directions
    errors = jnp.sum(left * _geometry.product(directions, left), axis=0)
    errors = jnp.where(counted, jnp.maximum(errors, 0), 0)
    largest = jnp.max(errors)
    blame = jnp.minimum(errors / jnp.where(largest > 0, largest, 1), 1)
    return _spectrum.Spectrum(jnp.sum(counts * errors) / total * scale, blame)


def _onward(at: _Descent, reached: jax.Array) -> _Descent:
    """Go on with momentum, or from rest where it would lead back."""
    following = (1 + jnp.sqrt(1 + 4 * at.momentum**2)) / 2
    progress = reached - at.mixtures
    is_back = jnp.sum((at.ahead - reached) * progress) > 0
    ahead = reached + (at.momentum - 1) / following * progress
    return at._replace(
        mixtures=reached,
        ahead=jnp.where(is_back, reached, ahead),
        momentum=jnp.where(is_back, jnp.ones_like(following), following),
    )


def _where(condition: jax.Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _into_simplex(columns: jax.Array, allowed: jax.Array) -> jax.Array:
    """Return the nearest columns of sum 1 with entries from 0 to ``allowed [W]``."""

    def clipped(shift):
        return jnp.clip(columns - shift[None], 0, allowed[:, None])

    def halve(turn, ends):
        del turn
        low, high = ends
        middle = (low + high) / 2
        is_much = jnp.sum(clipped(middle), axis=0) > 1
        return jnp.where(is_much, middle, low), jnp.where(is_much, high, middle)

    ends = jnp.min(columns, axis=0) - 1, jnp.max(columns, axis=0)
    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, ends)
    return clipped((low + high) / 2)
