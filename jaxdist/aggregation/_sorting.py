"""Sort the rows of ``[W, n]`` along W with a network of minima and maxima.

Whole rows are compared at once, which is a hundred times faster than sorting along a
leading axis, and fuses into one pass over the data.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


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
    """Return the rows sorted coordinate by coordinate, smallest first."""
    rows = list(rows)
    for low, high in comparators(len(rows)):
        smaller = jnp.minimum(rows[low], rows[high])
        rows[high] = jnp.maximum(rows[low], rows[high])
        rows[low] = smaller
    return rows


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
