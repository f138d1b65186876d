"""Norms: how long W contributions are, in W numbers."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry, _sight


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Norms(_sight.Sight):
    """How long contributions are; infinitely long where one is not finite.

    Attributes:
      squared_norms: ``[W]``.
    """

    what: ClassVar[str] = "norms"  # how reports call it

    @classmethod
    def of(cls, rows: jax.Array, anchor: jax.Array | None = None) -> "Norms":
        """Measure ``[W, n]`` rows, or this shard's part; an anchor ``[n]`` is last."""
        norms = squared_lengths(rows)
        if anchor is not None:
            norms = jnp.append(norms, squared_lengths(anchor[None]))
        return cls(norms)

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
        """Return the part of a geometry that a rule sees which asks for norms."""
        return cls(geometry.squared_norms, weight=geometry.weight)


def squared_lengths(rows: jax.Array) -> jax.Array:
    """Return ``[W]`` of ``[W, n]``; infinity or NaN where a row is not finite."""
    return jnp.sum(rows * rows, axis=1)
