"""Norms: how long W contributions are, in W numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry


class Norms(NamedTuple):
    """How long contributions are; those that are not finite, infinitely."""

    squared_norms: jax.Array  # [W]

    what = "norms"  # how reports call it

    @classmethod
    def of(cls, rows: jax.Array, anchor: jax.Array | None = None) -> "Norms":
        """Measure ``[W, n]`` rows, or this shard's part; an anchor ``[n]`` is last."""
        norms = squared(rows)
        if anchor is not None:
            norms = jnp.append(norms, squared(anchor[None]))
        return cls(norms)

    @property
    def finite(self) -> jax.Array:
        """Which are finite, bool ``[W]``."""
        return jnp.isfinite(self.squared_norms)

    def or_inf(self, scores: jax.Array) -> jax.Array:
        """Return the scores of the first workers, infinite where one is not finite."""
        return jnp.where(self.finite[: scores.shape[0]], scores, jnp.inf)

    def as_array(self) -> jax.Array:
        """Return the squared norms."""
        return self.squared_norms

    @classmethod
    def from_array(cls, array: jax.Array) -> "Norms":
        """Invert :meth:`as_array`."""
        return cls(jnp.where(jnp.isfinite(array), array, jnp.inf))

    @classmethod
    def shape(cls, num_rows: int) -> tuple[int, ...]:
        """Return the shape of :meth:`as_array` for so many rows, an anchor included."""
        return (num_rows,)

    @classmethod
    def seen_in(cls, geometry: _geometry.Geometry) -> "Norms":
        """Return what of a geometry it is."""
        return cls(geometry.squared_norms)


def squared(rows: jax.Array) -> jax.Array:
    """Return ``[W]`` of ``[W, n]``; infinity or NaN where a row is not finite."""
    return jnp.sum(rows * rows, axis=1)
