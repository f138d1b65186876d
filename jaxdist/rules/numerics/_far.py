"""Which workers are so far away that rounding hides the differences of the others.

The distances of a far worker are rounded to multiples that are larger than the
distances between the other workers. Rules leave such workers out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry


def crowd_reach(dtype: jnp.dtype) -> float:
    """Return how many times farther than the others a worker may be.

    At the square root of the inverse rounding unit, the rounding of the worker's
    squared distance is as large as the squared distances of the others.
    """
    return float(jnp.finfo(dtype).eps) ** -0.5


class Crowd(NamedTuple):
    """The majority around its most central worker, and the workers within reach."""

    radius: jax.Array  # (), at most the root of 2 (W - f) honest variances
    members: jax.Array  # bool, [W]: within the radius
    near: jax.Array  # bool, [W]: near enough that rounding does not hide the majority


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
