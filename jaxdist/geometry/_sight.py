"""Sight: what rules see of W contributions, and which of them count.

A rule may look again. Once the long are shortened, the distances of before are of no
use: their rounding is that of rows as long as attackers wish, and would hide how the
shortened rows lie. So what shortens rows has them measured once more.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sight:
    """What is common to :class:`Geometry`, :class:`Radii` and :class:`Norms`."""

    squared_norms: jax.Array  # [W], or [W + 1] with an anchor, which is the last
    weight: Any = dataclasses.field(default=None, kw_only=True)  # [W], 0 is absent
    measure: Callable[[Any, jax.Array], Any] | None = dataclasses.field(
        default=None, kw_only=True, metadata={"static": True}
    )  # (sees, mixture) -> what is seen of mixtures; None where the rows are unknown

    @property
    def lengths(self) -> jax.Array:
        """How long contributions are; infinite where one is not there or finite."""
        return jnp.sqrt(self.squared_norms)

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

    def seen_again(self, sees: type[Any], mixture: jax.Array) -> Any:
        """Return what a rule sees of mixtures of the rows, which are measured again.

        Args:
          sees: What the rule sees: :class:`Geometry`, :class:`Radii` or :class:`Norms`.
          mixture: ``[m, W]``, or ``[W]`` where the rows are only scaled; NaN for what
            is not finite.
        """
        if self.measure is None:
            raise ValueError(
                "`sight` must know the rows, to measure what is left of them: call the "
                "rule itself, or give a Geometry to its `mix`."
            )
        return self.measure(sees, mixture)

    def with_weight(self, weight: jax.Array | None) -> Self:
        """Let workers of weight 0 be infinitely far away, and be no part of W."""
        if weight is None:
            return self
        return dataclasses.replace(self, weight=weight)._only_present()

    def _only_present(self) -> Self:
        """Move those who are absent infinitely far away."""
        norms = jnp.where(self.present, self.squared_norms, jnp.inf)
        return dataclasses.replace(self, squared_norms=norms)
