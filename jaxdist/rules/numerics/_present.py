"""Present: order statistics of the rows that count, whose number is known at run time.

Rows of weight 0 sort behind all others, as values that are not finite do.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist.geometry import _columns
from jaxdist.rules.numerics import _sorting


class Present(NamedTuple):
    """The values of each coordinate in order, those that do not count behind."""

    ordered: jax.Array  # [m, s], infinity for what is absent or not finite
    num_rows: jax.Array  # int32, (): rows that count
    num_bad: jax.Array  # int32, [s]: values of those that are not finite

    def at_place(self, place: jax.Array) -> jax.Array:
        """Return the value at this place ``[s]`` of each coordinate."""
        return self.total_between(place, place + 1)

    def row_at(self, place: jax.Array) -> jax.Array:
        """Return the row at one place, the same for all coordinates."""
        place = jnp.clip(place, 0, self.ordered.shape[0] - 1)
        return jax.lax.dynamic_index_in_dim(self.ordered, place, keepdims=False)

    def rows_from(self, place: jax.Array, number: int) -> jax.Array:
        """Return so many rows ``[number, s]``, the first of which is at this place."""
        return jax.lax.dynamic_slice_in_dim(self.ordered, place, number)

    def total_between(self, low: jax.Array, high: jax.Array) -> jax.Array:
        """Return the sum of the values at places from ``low`` to before ``high``."""
        return _total_between(self.ordered, low, high)

    def around(self, middle: jax.Array) -> "Present":
        """Return the same seen from a point ``[s]``."""
        return self._replace(ordered=self.ordered - middle[None])


@jax.custom_jvp
def _total_between(ordered: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Add up rows of ``[m, s]``, in each column those from ``low`` to before ``high``.

    Few rows are added one by one, which fuses with their network. The derivative of
    that would take long to compile.
    """
    if ordered.shape[0] > _columns.FEW:
        return _masked_total(ordered, low, high)
    total = jnp.zeros_like(ordered[0])
    for i, row in enumerate(ordered):
        total += jnp.where((low <= i) & (i < high), row, 0)
    return total


@_total_between.defjvp
def _total_tangent(primals, tangents):
    _, low, high = primals
    return _total_between(*primals), _masked_total(tangents[0], low, high)


def _masked_total(rows, low, high):
    low, high = (jnp.broadcast_to(end, rows.shape[1:]) for end in (low, high))
    places = jnp.arange(rows.shape[0], dtype=jnp.int32)[:, None]
    is_chosen = (low[None] <= places) & (places < high[None])
    return jnp.sum(jnp.where(is_chosen, rows, 0), axis=0)


def sort_present(
    rows: jax.Array, weight: jax.Array, few: int = _columns.FEW
) -> Present:
    """Sort the rows ``[m, s]`` whose weight ``[m]`` is not 0.

    Args:
      rows: ``[m, s]``.
      weight: ``[m]``.
      few: How many rows a network sorts, which fuses with sums over places. Where a
        row at a place of run time is read, all are stored: 0 is faster then.
    """
    present, good = weight > 0, jnp.isfinite(rows)
    num_rows = jnp.sum(present, dtype=jnp.int32)
    if rows.shape[0] > few:
        cleaned = jnp.where(good & present[:, None], rows, jnp.inf)
        num_bad = jnp.sum(present[:, None] & ~good, axis=0, dtype=jnp.int32)
        return Present(_sorting.sort_many(cleaned), num_rows, num_bad)
    cleaned = [
        jnp.where(is_good & here, row, jnp.inf)
        for row, is_good, here in zip(rows, good, present, strict=True)
    ]
    num_bad = jnp.zeros_like(rows[0], dtype=jnp.int32)
    for is_good, here in zip(good, present, strict=True):
        num_bad += (here & ~is_good).astype(jnp.int32)
    return Present(jnp.stack(_sorting.sort_rows(cleaned)), num_rows, num_bad)


def any_number(
    reduce: Callable[[jax.Array], jax.Array],
    reduce_weighted: Callable[[jax.Array, jax.Array], jax.Array],
) -> Callable[[jax.Array], jax.Array]:
    """Return what reduces all rows ``[m, s]``, however many there are.

    Args:
      reduce: Of rows that one network sorts, each an array of its own.
      reduce_weighted: Of rows and their weights ``[m]``; makes the same of more rows.
    """

    def reduced(rows):
        if rows.shape[0] <= _columns.FEW:
            return reduce(rows)
        return reduce_weighted(rows, jnp.ones_like(rows, shape=rows.shape[:1]))

    return reduced


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
    lowest = moved.ordered[:num_byzantine]
    highest = moved.rows_from(number, num_byzantine)
    is_nearer = highest - centre[None] < centre[None] - lowest
    total += jnp.sum(jnp.where(is_nearer, highest, lowest), axis=0)
    return middle + total / jnp.maximum(number, 1).astype(total.dtype)
