"""The direction in which workers scatter most, and how far each lies along it.

Where XLA fuses a maximum with its inputs, the inputs are computed twice, and may be
rounded differently: the maximum may lie below its values. So weights that are the
difference to a maximum are clamped. A weight below zero once ended a filter before it
had removed any worker.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry


class Spectrum(NamedTuple):
    """The largest eigenvalue of the covariance, and how much each worker causes it."""

    variance: jax.Array  # (): the eigenvalue
    blame: jax.Array  # [W]: squared distance from the mean along it, the largest 1


def measure_spectrum(geometry: _geometry.Geometry, counts: jax.Array) -> Spectrum:
    """Measure the workers, each counted ``counts [W]`` times, from 0 to 1.

    Workers that count 0 times are left out, so that their rounding cannot disturb the
    others.
    """
    total = jnp.sum(counts)
    # LAPACK may never return from a matrix with NaN, so it gets none.
    weights = counts / jnp.where(total > 0, total, 1)
    products, scale = products_around(geometry, weights)
    root = jnp.sqrt(weights)
    variances, directions = jnp.linalg.eigh(root[:, None] * products * root[None])
    along = jnp.matmul(products, root * directions[:, -1], precision="highest")
    along = jnp.where(counts > 0, jnp.abs(along), 0)
    farthest = jnp.max(along)
    # The maximum may lie below its values: see the top of this file.
    blame = jnp.minimum(along / jnp.where(farthest > 0, farthest, 1), 1) ** 2
    return Spectrum(jnp.maximum(variances[-1], 0) * scale, blame)


def products_around(
    geometry: _geometry.Geometry, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the inner products ``[W, W]`` around a mean, and what they are divided by.

    Workers without weight are left out.
    """
    counted = weights > 0
    both = counted[:, None] & counted[None]
    distances = jnp.where(both, geometry.squared_distances, 0)
    largest = jnp.max(distances)
    scale = jnp.where(largest > 0, largest, 1)
    # Squares of large distances would overflow.
    small = _geometry.Geometry(
        squared_norms=jnp.where(counted, 0, jnp.inf),
        squared_distances=jnp.where(both, distances / scale, jnp.inf),
    )
    return small.centred(weights), scale
