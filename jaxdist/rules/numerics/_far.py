"""Who is too far away for the others to be told apart beside them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry


def crowd_reach(dtype: jnp.dtype) -> float:
    """Return how many times farther than others a worker may be.

    At the square root of the inverse rounding unit, the rounding of a distance's square
    is as large as the square of the others' distances.
    """
    return float(jnp.finfo(dtype).eps) ** -0.5


class Crowd(NamedTuple):
    """The majority around its most central worker, and who is within its reach."""

    radius: jax.Array  # (), at most the root of 2 (W - f) honest variances
    members: jax.Array  # bool, [W]: no farther than that
    near: jax.Array  # bool, [W]: the others can be told apart beside them


def find_crowd(geometry: _geometry.Geometry) -> Crowd:
    """Return where most of the finite workers are."""
    distances = geometry.squared_distances
    middle = jnp.sum(geometry.finite) // 2
    radii = jnp.sort(distances, axis=1)[:, jnp.minimum(middle, distances.shape[0] - 1)]
    central = jnp.argmin(radii)
    squared_radius = jnp.where(geometry.finite[central], radii[central], 0)
    limit = crowd_reach(distances.dtype) ** 2 * squared_radius
    return Crowd(
        jnp.sqrt(squared_radius),
        geometry.finite & (distances[central] <= squared_radius),
        geometry.finite & (distances[central] <= limit),
    )
