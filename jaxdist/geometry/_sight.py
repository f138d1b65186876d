"""Sight: what rules see of W contributions, and which of them count."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sight:
    """What is common to :class:`Geometry`, :class:`Radii` and :class:`Norms`."""

    squared_norms: jax.Array  # [W], or [W + 1] with an anchor, which is the last
    weight: Any = dataclasses.field(default=None, kw_only=True)  # [W], 0 is absent

    @property
    def finite(self) -> jax.Array:
        """Which contributions are there and finite, an anchor included; bool."""
        return jnp.isfinite(self.squared_norms)

    @property
    def present(self) -> jax.Array:
        """Which contributions are there, an anchor included; bool."""
        all_present = jnp.ones_like(self.squared_norms, dtype=bool)
        if self.weight is None:
            return all_present
        return all_present.at[: self.weight.shape[0]].set(self.weight > 0)

    def num_present(
        self, num_workers: int, dtype: jax.typing.DTypeLike = jnp.int32
    ) -> jax.Array | int:
        """Return how many of W workers are there: W itself where no weights are known.

        Args:
          num_workers: W.
          dtype: Of the number where it is only known when the program runs.
        """
        if self.weight is None:
            return num_workers
        absent = jnp.sum(self.weight <= 0, dtype=jnp.int32)
        return (num_workers - absent).astype(dtype)

    def or_inf(self, scores: jax.Array) -> jax.Array:
        """Return the scores of the first workers, infinite where one is not finite."""
        return jnp.where(self.finite[: scores.shape[0]], scores, jnp.inf)

    def with_weight(self, weight: jax.Array | None) -> Self:
        """Let workers of weight 0 be infinitely far away, and be no part of W."""
        if weight is None:
            return self
        return dataclasses.replace(self, weight=weight)._only_present()

    def _only_present(self) -> Self:
        """Move those who are absent infinitely far away."""
        norms = jnp.where(self.present, self.squared_norms, jnp.inf)
        return dataclasses.replace(self, squared_norms=norms)
