"""The saddle point of a filter: how badly mixtures of workers predict each worker.

Each worker is predicted by a mixture of workers. The largest eigenvalue of the errors
is the error in the worst direction. The best mixtures make this eigenvalue as small as
possible. As a function of the mixtures it has corners, where two directions are equally
bad. A smooth maximum of all eigenvalues, less than a hundredth above the largest, has
no corners, and an accelerated descent finds its minimum. The smooth maximum also says
how much each direction counts.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist.geometry import _geometry
from jaxdist.rules.numerics import _spectrum

_STEPS = 200
_SMOOTHNESS = 0.01  # of the value, by which the smooth maximum may lie above it
_ROUNDING = 1e-6  # of the value, by which a step may miss its promise
_HALVINGS = 40  # of an interval, to a rounding unit


class _Problem(NamedTuple):
    """Which workers are predicted, and by which."""

    products: jax.Array  # [W, W], around the mean
    counts: jax.Array  # [W]: how much each counts, from 0 to 1
    allowed: jax.Array  # [W]: what each may weigh in a mixture


class _View(NamedTuple):
    """The errors of the predictions."""

    value: jax.Array  # (): the smooth maximum of the eigenvalues
    directions: jax.Array  # [W, W]: squares of where workers lie along the worst ones


class _Descent(NamedTuple):
    """Where an accelerated descent is, and how it goes on."""

    mixtures: jax.Array  # [W, W]: columns are what predicts each worker
    ahead: jax.Array  # [W, W]: the same, a little farther on
    momentum: jax.Array  # ()
    steepness: jax.Array  # (): by how much the slope changes, at most, on the way
    width: jax.Array  # (): within which eigenvalues are as good as equal


def measure_saddle_point(
    geometry: _geometry.Geometry, counts: jax.Array, most: float
) -> _spectrum.Spectrum:
    """Measure the workers, each counted ``counts [W]`` times, from 0 to 1.

    Args:
      geometry: Of the workers.
      counts: How much each worker counts.
      most: What a worker may weigh in a mixture.
    """
    counted, total = counts > 0, jnp.sum(counts)
    total = jnp.where(total > 0, total, 1)
    products, scale = _spectrum.products_around(geometry, counts / total)
    allowed = jnp.where(counted, jnp.maximum(most, 1 / jnp.sum(counted)), 0)
    errors = _spectral_errors(_Problem(products, counts, allowed))
    errors = jnp.where(counted, jnp.maximum(errors, 0), 0)
    largest = jnp.max(errors)
    blame = jnp.minimum(errors / jnp.where(largest > 0, largest, 1), 1)
    return _spectrum.Spectrum(jnp.sum(counts * errors) / total * scale, blame)


def _spectral_errors(problem: _Problem) -> jax.Array:
    """Return the squared error ``[W]`` of each prediction at the saddle point."""
    size = problem.counts.size
    start = jnp.broadcast_to(problem.counts[:, None], (size, size))
    total = jnp.sum(problem.counts)
    start = start / jnp.where(total > 0, total, 1)
    start = _into_simplex(start, problem.allowed)
    one = jnp.ones_like(problem.counts, shape=())
    sharp = jnp.full_like(one, jnp.finfo(one.dtype).tiny)
    width = _smoothing_width(problem, _look_at(problem, start, sharp).value)
    first = _Descent(start, start, one, one, width)
    last = jax.lax.fori_loop(
        0, _STEPS, lambda _, at: _advance_descent(problem, at), first
    )
    directions = _look_at(problem, last.mixtures, last.width).directions
    left = _weight_left(last.mixtures)
    return jnp.sum(left * _geometry.exact_product(directions, left), axis=0)


def _weight_left(mixtures):
    """Return the error of each prediction, as columns of weights."""
    return jnp.eye(mixtures.shape[0], dtype=mixtures.dtype) - mixtures


def _smoothing_width(problem, value):
    """Return how wide the smooth maximum may be at this value."""
    width = _SMOOTHNESS / math.log(problem.counts.size + 1) * value
    return jnp.maximum(width, jnp.finfo(value.dtype).tiny)


def _look_at(problem: _Problem, mixtures: jax.Array, width: jax.Array) -> _View:
    """Look at the errors of the predictions."""
    left = _weight_left(mixtures) * jnp.sqrt(problem.counts)[None]
    seen = _geometry.exact_product(problem.products, left)
    variances, vectors = jnp.linalg.eigh(_geometry.exact_product(left.T, seen))
    shares = jnp.exp((variances - variances[-1]) / width)
    value = variances[-1] + width * jnp.log(jnp.sum(shares))
    shares /= jnp.sum(shares) * jnp.maximum(variances, jnp.finfo(value.dtype).tiny)
    places = _geometry.exact_product(seen, vectors)
    return _View(value, _geometry.exact_product(places * shares[None], places.T))


def _advance_descent(problem: _Problem, at: _Descent) -> _Descent:
    """Take a step, or find out that it was too long."""
    here = _look_at(problem, at.ahead, at.width)
    pulls = _geometry.exact_product(here.directions, _weight_left(at.ahead))
    slope = -2 * pulls * problem.counts[None]
    reached = _into_simplex(at.ahead - slope / at.steepness, problem.allowed)
    way = reached - at.ahead
    promised = here.value + jnp.sum(slope * way) + at.steepness / 2 * jnp.sum(way**2)
    value = _look_at(problem, reached, at.width).value
    onward = _extrapolate(at, reached)._replace(
        steepness=0.9 * at.steepness,
        width=jnp.minimum(at.width, _smoothing_width(problem, value)),
    )
    again = at._replace(steepness=2 * at.steepness)
    is_kept = value <= promised + _ROUNDING * here.value
    return optax.tree.where(is_kept, onward, again)


def _extrapolate(at: _Descent, reached: jax.Array) -> _Descent:
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
