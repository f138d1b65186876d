"""Radii: how W contributions lie to one point, in 2W + 1 numbers."""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry, _norms, _sight


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Radii(_sight.Sight):
    """How long contributions are, and how far from an anchor.

    The anchor is the last of the norms. A contribution that is not finite is infinitely
    long, and infinitely far away.

    Attributes:
      squared_norms: ``[W + 1]``.
      squared_distances: ``[W]``, to the anchor.
    """

    squared_distances: jax.Array

    what: ClassVar[str] = "radii"  # how reports call it

    @classmethod
    def of(
        cls,
        rows: jax.Array,
        anchor: jax.Array | None = None,
        mixture: jax.Array | None = None,
        present: jax.Array | None = None,
    ) -> "Radii":
        """Measure ``[W, n]`` rows, or this shard's part, around an anchor ``[n]``.

        Args:
          rows: ``[W, n]``.
          anchor: ``[n]``.
          mixture: What to measure mixtures of all of them with, ``[m, W]`` or ``[W]``;
            the last of them is the anchor.
          present: Which of what is measured is there; each is measured alone.
        """
        del present  # `with_weight` leaves the others out
        if mixture is not None:
            blocks = (rows,) if anchor is None else (rows, anchor[None])
            mixed = _geometry.mixed_rows(mixture, *blocks)
            return cls.of(mixed[:-1], mixed[-1])
        if anchor is None:
            raise ValueError("`anchor` must be given: radii are distances from it.")
        squared = jnp.sum((rows - anchor[None]) ** 2, axis=1)
        norms = jnp.append(
            _norms.squared_lengths(rows), _norms.squared_lengths(anchor[None])
        )
        return cls(norms, squared)

    def products(self) -> jax.Array:
        """Return the inner products ``[W]`` with the anchor; 0 for what is infinite."""
        norms = self.squared_norms
        products = (norms[:-1] + norms[-1] - self.squared_distances) / 2
        return jnp.where(self.finite[:-1] & self.finite[-1], products, 0)

    def as_array(self) -> jax.Array:
        """Return ``[2 W + 1]``: the distances, then the norms."""
        return jnp.concatenate([self.squared_distances, self.squared_norms])

    @classmethod
    def from_array(cls, array: jax.Array) -> "Radii":
        """Invert :meth:`as_array`."""
        squared, norms = jnp.split(array, [array.size // 2])
        finite = _geometry.are_comparable(norms)
        usable = finite[:-1] & finite[-1]
        return cls(
            jnp.where(finite, norms, jnp.inf), jnp.where(usable, squared, jnp.inf)
        )

    @classmethod
    def shape(cls, num_rows: int) -> tuple[int, ...]:
        """Return the shape of :meth:`as_array` for so many rows, an anchor included."""
        return (2 * num_rows - 1,)

    @classmethod
    def seen_in(cls, sight: "_geometry.Geometry | Radii") -> "Radii":
        """Return the part of a geometry that a rule sees which asks for radii."""
        if isinstance(sight, Radii):
            return sight
        return cls(
            sight.squared_norms,
            sight.squared_distances[-1, :-1],
            weight=sight.weight,
            measure=sight.measure,
        )

    def _only_present(self) -> Self:
        present = self.present
        return dataclasses.replace(
            super()._only_present(),
            squared_distances=jnp.where(
                present[:-1] & present[-1], self.squared_distances, jnp.inf
            ),
        )
