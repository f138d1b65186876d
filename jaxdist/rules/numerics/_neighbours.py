"""Neighbours: how near each worker's nearest workers are, and the best in turn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _geometry

NEIGHBOURS = ("paper", "byzfl")


Score = Callable[[_geometry.Geometry, jax.Array], jax.Array]


def neighbour_scores(
    num_byzantine: int, neighbours: str = "paper", squared: bool = True
) -> Score:
    """Return ``(geometry, taken [W]) -> scores [W]``, the lower the better.

    Workers already taken are no worker's neighbours, and have infinite scores.
    """
    _checks.one_of("neighbours", neighbours, NEIGHBOURS)
    _checks.flag("squared", squared)
    not_counted = num_byzantine + (2 if neighbours == "paper" else 1)

    def score(geometry, taken):
        distances = _distances(geometry, squared)
        num_workers = distances.shape[0]
        others = ~taken[None] & ~jnp.eye(num_workers, dtype=bool)
        ordered = jnp.sort(jnp.where(others, distances, jnp.inf), axis=1)
        num_taken = jnp.sum(taken, dtype=jnp.int32)
        num_left = geometry.num_present(num_workers) - num_taken
        # At the last of many choices few workers are left; one neighbour is needed.
        num_near = jnp.maximum(num_left - not_counted, jnp.minimum(num_left - 1, 1))
        counted = jnp.arange(num_workers, dtype=jnp.int32) < num_near
        total = jnp.sum(jnp.where(counted[None], ordered, 0), axis=1)
        return jnp.where(taken | ~geometry.finite, jnp.inf, total)

    return score


def _distances(geometry, squared):
    """Return ``[W, W]``, the same in either direction to the last bit."""
    distances = geometry.squared_distances
    distances = jnp.minimum(distances, distances.T)
    return distances if squared else jnp.sqrt(distances)


def take_best(
    score: Score,
    geometry: _geometry.Geometry,
    most: int,
    number: jax.Array | int,
) -> jax.Array:
    """Take the best of the workers that are left, again and again; return the order.

    Takes ``number`` of them, and fills up with W, which is no worker, to ``most``.

    Of workers that tie, the one nearest to all others that are left comes first.
    """
    num_workers = geometry.finite.shape[0]
    distances = _distances(geometry, squared=True)
    distances = jnp.where(jnp.isfinite(distances), distances, 0)

    def take(turn, carry):
        order, taken = carry
        found = score(geometry, taken)
        to_all = jnp.sum(jnp.where(taken[None], 0, distances), axis=1)
        tied = found == jnp.min(found)
        best = jnp.argmin(jnp.where(tied, to_all, jnp.inf))
        return order.at[turn].set(best.astype(jnp.int32)), taken | (
            jnp.arange(num_workers) == best
        )

    nobody = jnp.zeros_like(geometry.finite)
    order = jnp.zeros_like(geometry.squared_norms, shape=most, dtype=jnp.int32)
    order, _ = jax.lax.fori_loop(0, number, take, (order, nobody))
    turns = jnp.arange(most, dtype=jnp.int32)
    return jnp.where(turns < number, order, num_workers)
