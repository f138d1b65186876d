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


_FARTHEST = 1e32  # squared radii; in float32 a million of them can be added


class Crowd(NamedTuple):
    """The majority around its most central worker, and the workers within reach."""

    radius: jax.Array  # (), at most the root of 2 (W - f) honest variances
    members: jax.Array  # bool, [W]: within the radius
    near: jax.Array  # bool, [W]: near enough that rounding does not hide the majority


def crowd_distances(geometry: _geometry.Geometry) -> jax.Array:
    """Return the squared distances ``[W, W]`` in units of the majority's radius.

    Powers and sums of them neither overflow nor vanish. What is very far is only so
    far. Where most are copies, the unit is the smallest distance; of workers that are
    not finite, distances are 0.
    """
    distances, finite = geometry.squared_distances, geometry.finite
    radius = _geometry.find_majority(distances, finite).squared_radius
    smallest = jnp.min(jnp.where(distances > 0, distances, jnp.inf))
    unit = jnp.where(radius > 0, radius, smallest)
    distances = distances / jnp.where(jnp.isfinite(unit), unit, 1)
    both = finite[:, None] & finite[None]
    return jnp.where(both, jnp.minimum(distances, _FARTHEST), 0)


def find_crowd(geometry: _geometry.Geometry) -> Crowd:
    """Return where most of the finite workers are."""
    distances = geometry.squared_distances
    found = _geometry.find_majority(distances, geometry.finite)
    limit = crowd_reach(distances.dtype) ** 2 * found.squared_radius
    return Crowd(
        jnp.sqrt(found.squared_radius),
        found.members,
        geometry.finite & (distances[found.central] <= limit),
    )
