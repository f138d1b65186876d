"""Norms: how long W contributions are, in 2W numbers.

Attackers may send more than can be squared. What shortens the long must know how long
they are, so very long rows are squared twice: as they are, and small enough for it.
"""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry, _sight

_LOWERED = 2.0**-80  # of which any float32 can be squared, and many added
_LONG = 2.0**90  # a square that may be too large with those of other parts
_SQUARED = 2.0**100  # the largest square that is trusted, of any part of a gradient


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Norms(_sight.Sight):
    """How long contributions are; infinitely long where one is not finite.

    Attributes:
      squared_norms: ``[W]``; inf also where a row is too long to be squared.
      squared_lowered: ``[W]``, of the rows times a small power of two; inf where a row
        is not finite.
    """

    squared_lowered: jax.Array

    what: ClassVar[str] = "norms"  # how reports call it

    @classmethod
    def of(
        cls,
        rows: jax.Array,
        anchor: jax.Array | None = None,
        mixture: jax.Array | None = None,
        present: jax.Array | None = None,
    ) -> "Norms":
        """Measure ``[W, n]`` rows, or this shard's part; an anchor ``[n]`` is last.

        Args:
          rows: ``[W, n]``.
          anchor: ``[n]``.
          mixture: What to measure mixtures of all of them with, ``[m, W]`` or ``[W]``.
          present: Which of what is measured is there; each is measured alone.
        """
        del present  # `with_weight` leaves the others out
        blocks = [rows] if anchor is None else [rows, anchor[None]]
        if mixture is not None:
            blocks = [_geometry.mixed_rows(mixture, *blocks)]
        measured = [cls(*_measure_both(block)) for block in blocks]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *measured)

    @property
    def lengths(self) -> jax.Array:
        """How long contributions are, also those that are too long to be squared."""
        lowered = jnp.sqrt(self.squared_lowered) / _LOWERED
        exact = jnp.sqrt(self.squared_norms)
        return jnp.where(self.squared_norms < _SQUARED, exact, lowered)

    @property
    def finite(self) -> jax.Array:
        """Which contributions are there and finite, an anchor included; bool."""
        return jnp.isfinite(self.lengths)

    def as_array(self) -> jax.Array:
        """Return ``[2 W]``: the squared norms, then those of the small."""
        return jnp.concatenate([self.squared_norms, self.squared_lowered])

    @classmethod
    def from_array(cls, array: jax.Array) -> "Norms":
        """Invert :meth:`as_array`."""
        return cls(*jnp.split(jnp.where(jnp.isfinite(array), array, jnp.inf), 2))

    @classmethod
    def shape(cls, num_rows: int) -> tuple[int, ...]:
        """Return the shape of :meth:`as_array` for so many rows, an anchor included."""
        return (2 * num_rows,)

    @classmethod
    def seen_in(cls, sight: "_geometry.Geometry | Norms") -> "Norms":
        """Return the part of a geometry that a rule sees which asks for norms."""
        if isinstance(sight, Norms):
            return sight
        norms = sight.squared_norms
        lowered = norms * _LOWERED * _LOWERED
        return cls(norms, lowered, weight=sight.weight, measure=sight.measure)

    def without_last(self) -> Self:
        """Leave out the anchor."""
        return dataclasses.replace(
            self,
            squared_norms=self.squared_norms[:-1],
            squared_lowered=self.squared_lowered[:-1],
        )

    def _only_present(self) -> Self:
        lowered = jnp.where(self.present, self.squared_lowered, jnp.inf)
        return dataclasses.replace(super()._only_present(), squared_lowered=lowered)


def _measure_both(rows):
    """Return the squared lengths, and those of the small where a row is very long."""
    squared = squared_lengths(rows)

    def is_needed(carry):
        return carry[0]

    def measure_lowered(carry):
        return carry[0] & False, squared_lengths(rows * _LOWERED)

    # A loop, not a branch: under vmap a branch would always be taken. What is left out
    # is nothing compared with a square that, with that of other parts, is too large.
    start = ~jnp.all(squared < _LONG), jnp.zeros_like(squared)
    _, lowered = jax.lax.while_loop(is_needed, measure_lowered, start)
    return squared, lowered


def squared_lengths(rows: jax.Array) -> jax.Array:
    """Return ``[W]`` of ``[W, n]``; infinity or NaN where a row is not finite."""
    return jnp.sum(rows * rows, axis=1)
