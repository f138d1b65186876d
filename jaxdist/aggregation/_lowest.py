"""The workers with the lowest scores, averaged."""

import jax
import jax.numpy as jnp

from jaxdist import _geometry


def mean_of_lowest(
    scores: jax.Array, geometry: _geometry.Geometry, number: int
) -> jax.Array:
    """Return weights ``[1, W]`` of the mean of the ``number`` lowest.

    Ties go to the lowest index. Workers that are not finite come last, without weight.
    """
    finite = geometry.finite[: scores.shape[0]]
    order = jnp.argsort(jnp.where(finite, scores, jnp.inf), stable=True)
    rank = jnp.argsort(order)
    return jnp.where((rank < number) & finite, 1 / number, 0)[None].astype(scores.dtype)
