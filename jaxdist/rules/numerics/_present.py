"""Present: order statistics of the rows that count, whose number is known at run time.

Rows of weight 0 sort behind all others, as values that are not finite do.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.rules.numerics import _sorting


class Present(NamedTuple):
    """The values of each coordinate in order, those that do not count behind."""

    ordered: jax.Array  # [m, s], infinity for what is absent or not finite
    num_rows: jax.Array  # int32, (): rows that count
    num_bad: jax.Array  # int32, [s]: values of those that are not finite

    def at_place(self, place: jax.Array) -> jax.Array:
        """Return the value at this place ``[s]`` of each coordinate."""
        value = jnp.zeros_like(self.ordered[0])
        for i, row in enumerate(self.ordered):
            value = jnp.where(place == i, row, value)
        return value

    def row_at(self, place: jax.Array) -> jax.Array:
        """Return the row at one place, the same for all coordinates."""
        place = jnp.clip(place, 0, self.ordered.shape[0] - 1)
        return jax.lax.dynamic_index_in_dim(self.ordered, place, keepdims=False)

    def total_between(self, low: jax.Array, high: jax.Array) -> jax.Array:
        """Return the sum of the values at places from ``low`` to before ``high``."""
        total = jnp.zeros_like(self.ordered[0])
        for i, row in enumerate(self.ordered):
            total += jnp.where((low <= i) & (i < high), row, 0)
        return total

    def around(self, middle: jax.Array) -> "Present":
        """Return the same seen from a point ``[s]``."""
        return self._replace(ordered=self.ordered - middle[None])


def sort_present(rows: jax.Array, weight: jax.Array) -> Present:
    """Sort the rows ``[m, s]`` whose weight ``[m]`` is not 0."""
    present = weight > 0
    good = jnp.isfinite(rows)
    cleaned = [
        jnp.where(is_good & here, row, jnp.inf)
        for row, is_good, here in zip(rows, good, present, strict=True)
    ]
    num_bad = jnp.zeros_like(rows[0], dtype=jnp.int32)
    for is_good, here in zip(good, present, strict=True):
        num_bad += (here & ~is_good).astype(jnp.int32)
    ordered = jnp.stack(_sorting.sort_rows(cleaned))
    return Present(ordered, jnp.sum(present, dtype=jnp.int32), num_bad)


def median_of_present(values: Present) -> tuple[jax.Array, jax.Array]:
    """Return the two middle values of what is finite; the same where one is."""
    num_good = jnp.maximum(values.num_rows - values.num_bad, 1)
    return values.at_place((num_good - 1) // 2), values.at_place(num_good // 2)


def trimmed_mean_of_present(
    values: Present, num_byzantine: jax.Array | int
) -> jax.Array:
    """Return the mean without f values at either end, what is not finite among them."""
    f = num_byzantine
    number = jnp.maximum(values.num_rows - 2 * f + values.num_bad, 1)
    total = values.total_between(f - values.num_bad, values.num_rows - f)
    return total / number.astype(total.dtype)


def mean_of_nearest_present(
    values: Present, num_byzantine: int, centre_of: Callable[[Present], jax.Array]
) -> jax.Array:
    """Return the mean of all but f of the values, those nearest to a centre.

    Args:
      values: Those that count.
      num_byzantine: f, how many are left out.
      centre_of: What makes the centre of them; equivariant to translation.
    """
    middle = values.row_at((values.num_rows - 1) // 2)
    middle = jnp.where(jnp.isfinite(middle), middle, 0)
    moved, number = values.around(middle), values.num_rows - num_byzantine
    centre = centre_of(moved)
    total = moved.total_between(jnp.asarray(num_byzantine), number)
    for i in range(num_byzantine):
        low, high = moved.ordered[i], moved.row_at(number + i)
        total += jnp.where(high - centre < centre - low, high, low)
    return middle + total / jnp.maximum(number, 1).astype(total.dtype)
