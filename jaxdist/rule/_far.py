"""Who is too far away for the others to be told apart beside them."""

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry


def reach(dtype: jnp.dtype) -> float:
    """Return how many times farther than others a worker may be.

    At the square root of the inverse rounding unit, the rounding of a distance's square
    is as large as the square of the others' distances.
    """
    return float(jnp.finfo(dtype).eps) ** -0.5


def near(geometry: _geometry.Geometry) -> jax.Array:
    """Return who is finite and within reach of the majority, bool ``[W]``.

    The majority's radius is that around its most central worker.
    """
    distances = geometry.squared_distances
    middle = jnp.sum(geometry.finite) // 2
    radii = jnp.sort(distances, axis=1)[:, jnp.minimum(middle, distances.shape[0] - 1)]
    central = jnp.argmin(radii)
    limit = reach(distances.dtype) ** 2 * radii[central]
    return geometry.finite & (distances[central] <= limit)
