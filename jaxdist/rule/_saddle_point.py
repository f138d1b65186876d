"""The saddle point of a filter: how ill workers are predicted by mixtures of many.

In the direction where the worst predictions are worst, for the best mixtures. Between
adversaries that answer each other, averages over the rounds converge to it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry
from jaxdist.rule import _spectrum

_ROUNDS = 300
_HALVINGS = 40  # of an interval, to a rounding unit


class _Play(NamedTuple):
    """Where both sides are, and the sums of where they have been."""

    mixtures: jax.Array  # [W, W]: columns are what predicts each worker
    sum_of_mixtures: jax.Array  # [W, W]
    sum_of_squares: jax.Array  # [W, W]: of where the workers lie along directions


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

    def along_the_worst(mixtures):
        """Return where all lie along the direction in which most is left over."""
        left = (itself - mixtures) * jnp.sqrt(counts)[None]
        seen = _geometry.product(products, left)
        variances, directions = jnp.linalg.eigh(_geometry.product(left.T, seen))
        length = jnp.sqrt(jnp.maximum(variances[-1], jnp.finfo(seen.dtype).tiny))
        return _geometry.product(seen, directions[:, -1]) / length

    def answer(turn, play):
        places = along_the_worst(play.mixtures)
        errors = places - _geometry.product(play.mixtures.T, places)
        slope = -places[:, None] * (counts * errors)[None]
        steepness = jnp.linalg.norm(slope)
        step = slope / jnp.where(steepness > 0, steepness, 1) / jnp.sqrt(turn + 1)
        return _Play(
            _into_simplex(play.mixtures - step, allowed),
            play.sum_of_mixtures + play.mixtures,
            play.sum_of_squares + places[:, None] * places[None],
        )

    start = jnp.broadcast_to((counts / total)[:, None], itself.shape)
    start = _into_simplex(start, allowed)
    zeros = jnp.zeros_like(start)
    play = jax.lax.fori_loop(0, _ROUNDS, answer, _Play(start, zeros, zeros))
    left = itself - play.sum_of_mixtures / _ROUNDS
    squares = _geometry.product(_geometry.product(left.T, play.sum_of_squares), left)
    errors = jnp.where(counted, jnp.maximum(jnp.diagonal(squares) / _ROUNDS, 0), 0)
    largest = jnp.max(errors)
    blame = jnp.minimum(errors / jnp.where(largest > 0, largest, 1), 1)
    return _spectrum.Spectrum(jnp.sum(counts * errors) / total * scale, blame)


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
