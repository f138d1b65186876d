"""Sort the rows of ``[W, n]`` along W with a network of minima and maxima.

Whole rows are compared at once, which is a hundred times faster than sorting along a
leading axis, and fuses into one pass over the data. Of many rows, whose network would
take a minute to compile, whole stages are compared at once instead.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_FUSED = 64  # rows whose network is one loop; it grows with W log² W


def comparators(num_rows: int) -> list[tuple[int, int]]:
    """Return the pairs ``(low, high)`` of Batcher's odd-even merge sort, in order."""
    pairs = []
    merged = 1
    while merged < num_rows:
        distance = merged
        while distance:
            pairs += _stage(num_rows, merged, distance)
            distance //= 2
        merged *= 2
    return pairs


def _stage(num_rows: int, merged: int, distance: int) -> list[tuple[int, int]]:
    """Return the pairs that one stage compares; runs of ``merged`` rows are sorted."""
    pairs = []
    for start in range(distance % merged, num_rows - distance, 2 * distance):
        for low in range(start, min(start + distance, num_rows - distance)):
            high = low + distance
            if low // (2 * merged) == high // (2 * merged):
                pairs.append((low, high))
    return pairs


def sort_rows(rows: list[jax.Array]) -> list[jax.Array]:
    """Return rows that hold no NaN sorted coordinate by coordinate, smallest first."""
    if len(rows) > _FUSED:
        return list(_sort_by_stages(jnp.stack(rows))[: len(rows)])
    rows = list(rows)
    for low, high in comparators(len(rows)):
        rows[low], rows[high] = _in_order(rows[low], rows[high])
    return rows


def _in_order(left, right):
    """Return the smaller and the larger of two arrays.

    A minimum that hands on NaN takes five instructions and may keep the whole network
    from being vectorized; a choice takes one, if it asks as processors do: with `<`.
    """
    is_ordered = left < right
    return jnp.where(is_ordered, left, right), jnp.where(is_ordered, right, left)


def _sort_by_stages(rows: jax.Array) -> jax.Array:
    """Sort ``[W, n]``, with infinity behind where W is no power of two.

    Each stage compares all its pairs at once, as the halves of a reshaped array.
    """
    num_rows = 2 ** (rows.shape[0] - 1).bit_length()
    rows = jnp.pad(
        rows, ((0, num_rows - rows.shape[0]), (0, 0)), constant_values=jnp.inf
    )
    merged = 1
    while merged < num_rows:
        distance = merged
        while distance:
            # Fused with others, a stage would be computed anew for each of its readers.
            rows = jax.lax.optimization_barrier(_compared(rows, merged, distance))
            distance //= 2
        merged *= 2
    return rows


def _compared(rows: jax.Array, merged: int, distance: int) -> jax.Array:
    """Compare rows at this distance within runs of ``2 * merged`` rows."""
    runs = rows.reshape(-1, 2 * merged, rows.shape[1])
    edge = distance % merged
    inner = runs[:, edge : 2 * merged - edge]
    pairs = inner.reshape(runs.shape[0], -1, 2, distance, rows.shape[1])
    low, high = pairs[:, :, 0], pairs[:, :, 1]
    ordered = jnp.stack(_in_order(low, high), axis=2).reshape(inner.shape)
    parts = [runs[:, :edge], ordered, runs[:, 2 * merged - edge :]]
    return jnp.concatenate(parts, axis=1).reshape(rows.shape)


def sort_finite(rows: jax.Array) -> tuple[list[jax.Array], jax.Array]:
    """Sort ``[W, n]`` with whatever is not finite moved to the end.

    Returns:
      The W sorted rows, with infinity for what was not finite, and the number of
      values that were not finite in each coordinate, int32 ``[n]``.
    """
    finite = [jnp.isfinite(row) for row in rows]
    num_bad = sum((~mask).astype(jnp.int32) for mask in finite)
    cleaned = [
        jnp.where(mask, row, jnp.inf) for mask, row in zip(finite, rows, strict=True)
    ]
    return sort_rows(cleaned), jnp.asarray(num_bad)


def mean_of_nearest(
    ordered: list[jax.Array],
    centre_of: Callable[[list[jax.Array]], jax.Array],
    number: int,
) -> jax.Array:
    """Return the mean of the values nearest to a centre; ties go to the smaller.

    The nearest of sorted values are neighbours. Whether they include the i-th, or
    the one that comes ``number`` places after it instead, is for every i a single
    question: which of both is nearer?

    Args:
      ordered: Sorted; infinity at the end for what does not count.
      centre_of: What makes the centre of them; equivariant to translation.
      number: How many to average, at least half of all.
    """
    # Seen from the middle, a large common mean takes no digits from the differences.
    middle = ordered[(len(ordered) - 1) // 2]
    moved = [row - middle for row in ordered]
    centre = centre_of(moved)
    num_others = len(moved) - number
    total = jnp.zeros_like(centre)
    for low, high in zip(moved[:num_others], moved[number:], strict=True):
        total += jnp.where(high - centre < centre - low, high, low)
    for always in moved[num_others:number]:
        total += always
    return middle + total / number
