"""Radii: how W contributions lie to one point, in 2W + 1 numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry, _norms


class Radii(NamedTuple):
    """How long contributions are, and how far from an anchor, the last of all.

    What is not finite is infinitely long, and infinitely far away.
    """

    squared_distances: jax.Array  # [W], to the anchor
    squared_norms: jax.Array  # [W + 1]

    what = "radii"  # how reports call it

    @classmethod
    def of(cls, rows: jax.Array, anchor: jax.Array | None = None) -> "Radii":
        """Measure ``[W, n]`` rows, or this shard's part, around an anchor ``[n]``."""
        if anchor is None:
            raise ValueError("`anchor` must be given: radii are distances from it.")
        squared = jnp.sum((rows - anchor[None]) ** 2, axis=1)
        norms = jnp.append(_norms.squared(rows), _norms.squared(anchor[None]))
        return cls(squared, norms)

    @property
    def finite(self) -> jax.Array:
        """Which are finite, bool ``[W + 1]``."""
        return jnp.isfinite(self.squared_norms)

    def or_inf(self, scores: jax.Array) -> jax.Array:
        """Return the scores of the first workers, infinite where one is not finite."""
        return jnp.where(self.finite[: scores.shape[0]], scores, jnp.inf)

    def products(self) -> jax.Array:
        """Return the inner products ``[W]`` with the anchor; 0 for what is infinite."""
        norms = self.squared_norms
        products = (norms[:-1] + norms[-1] - self.squared_distances) / 2
        return jnp.where(self.finite[:-1] & self.finite[-1], products, 0)

    def as_array(self) -> jax.Array:
        """Return ``[2 W + 1]``: the distances, then the norms."""
        return jnp.concatenate(self)

    @classmethod
    def from_array(cls, array: jax.Array) -> "Radii":
        """Invert :meth:`as_array`."""
        squared, norms = jnp.split(array, [array.size // 2])
        finite = jnp.isfinite(norms)
        usable = finite[:-1] & finite[-1]
        return cls(
            jnp.where(usable, squared, jnp.inf), jnp.where(finite, norms, jnp.inf)
        )

    @classmethod
    def shape(cls, num_rows: int) -> tuple[int, ...]:
        """Return the shape of :meth:`as_array` for so many rows, an anchor included."""
        return (2 * num_rows - 1,)

    @classmethod
    def seen_in(cls, geometry: _geometry.Geometry) -> "Radii":
        """Return what of a geometry it is."""
        return cls(geometry.squared_distances[-1, :-1], geometry.squared_norms)
