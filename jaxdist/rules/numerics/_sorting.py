"""Sort the rows of ``[W, n]`` along W with a network of comparisons.

Whole rows are compared at once. This is a hundred times faster than sorting along a
leading axis, and fuses into one pass over the data. Up to 64 rows are sorted in one
loop over columns that stay in cache. The network of more rows would take a minute to
compile, and one loop of 1500 comparisons no longer fits the registers: there one stage
is compiled, whose pairs are found at run time (:func:`sort_many`).

A comparison chooses, and takes no minimum. XLA's minimum hands on NaN, which costs
several instructions and may keep a long network from being vectorized. Values that are
not finite are replaced before, so that one comparison and two choices are enough: two
to ten times faster. With ``<`` they are one instruction each, with ``<=`` two, which is
1.6 times slower.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def network_comparators(num_rows: int) -> list[tuple[int, int]]:
    """Return the pairs ``(low, high)`` of Batcher's odd-even merge sort, in order."""
    pairs = []
    merged = 1
    while merged < num_rows:
        distance = merged
        while distance:
            pairs += _sort_stage(num_rows, merged, distance)
            distance //= 2
        merged *= 2
    return pairs


def _sort_stage(num_rows: int, merged: int, distance: int) -> list[tuple[int, int]]:
    """Return the pairs that one stage compares; runs of ``merged`` rows are sorted."""
    pairs = []
    for start in range(distance % merged, num_rows - distance, 2 * distance):
        for low in range(start, min(start + distance, num_rows - distance)):
            high = low + distance
            if low // (2 * merged) == high // (2 * merged):
                pairs.append((low, high))
    return pairs


@jax.custom_jvp
def sort_rows(rows: list[jax.Array]) -> list[jax.Array]:
    """Return rows that hold no NaN sorted coordinate by coordinate, smallest first.

    Its derivative asks where each value came from: that of every comparison would take
    minutes to compile.
    """
    rows = list(rows)
    for low, high in network_comparators(len(rows)):
        rows[low], rows[high] = _in_order(rows[low], rows[high])
    return rows


@sort_rows.defjvp
def _sort_tangents(primals, tangents):
    """Return the sorted rows, and their tangents in the same order."""
    rows, moved = (jnp.stack(x[0]) for x in (primals, tangents))
    ordered, moved = _in_one_order(rows, moved)
    return list(ordered), list(moved)


@jax.custom_jvp
def sort_many(rows: jax.Array) -> jax.Array:
    """Do the same with any number of rows ``[W, n]``: a bitonic sort.

    One stage is compiled, however many rows there are. Which rows it compares, and
    which of each pair becomes the smaller, is read from a table.
    """
    if rows.shape[0] < 2:
        return rows
    num_rows = 2 ** (rows.shape[0] - 1).bit_length()
    missing = num_rows - rows.shape[0]
    padded = jnp.pad(rows, ((0, missing), (0, 0)), constant_values=jnp.inf)
    stages = jnp.asarray(_bitonic_stages(num_rows))
    places = jnp.arange(num_rows, dtype=stages.dtype)

    def compare(stage, rows):
        run, distance = stages[stage]
        others = jnp.take(rows, places ^ distance, axis=0, mode="clip")
        is_first, rises = (places & distance) == 0, (places & run) == 0
        takes_smaller = (is_first == rises)[:, None]
        # Of two that are equal each becomes the other.
        stays = jnp.where(takes_smaller, rows < others, others < rows)
        return jnp.where(stays, rows, others)

    return jax.lax.fori_loop(0, len(stages), compare, padded)[: rows.shape[0]]


@sort_many.defjvp
def _sort_many_tangents(primals, tangents):
    """Return the sorted rows, and their tangents in the same order."""
    return _in_one_order(*primals, *tangents)


def _in_one_order(rows, moved):
    """Return rows ``[W, n]`` sorted, and others of that shape in the same order."""
    rows, moved = (jnp.moveaxis(x, 0, -1) for x in (rows, moved))
    order = jnp.argsort(rows, axis=-1, stable=True)

    def in_order(values):
        ordered = jnp.take_along_axis(values, order, axis=-1)
        return jnp.moveaxis(ordered, -1, 0)

    return in_order(rows), in_order(moved)


def _bitonic_stages(num_rows: int) -> np.ndarray:
    """Return ``[stages, 2]``: the runs to sort, and the distance of what is compared.

    Runs rise and fall in turn, so that two of them are one that rises and then falls.
    """
    levels = range(1, num_rows.bit_length())
    pairs = [(2**run, 2**at) for run in levels for at in reversed(range(run))]
    return np.asarray(pairs, np.int32)


def _in_order(left, right):
    """Return the smaller and the larger of two arrays.

    By choices, not by minima, and with `<`, not with `<=`: see the top of this file.
    """
    is_ordered = left < right
    return jnp.where(is_ordered, left, right), jnp.where(is_ordered, right, left)


def sort_finite(rows: jax.Array, most: int) -> tuple[list[jax.Array], jax.Array]:
    """Sort ``[W, n]``; values that are not finite come last.

    Args:
      rows: To be sorted.
      most: How many that are not finite matter, below W.

    Returns:
      The W sorted rows, with infinity for what was not finite, and the number of
      values that were not finite in each coordinate, int32 ``[n]``; ``most + 1`` where
      there are more.
    """
    ordered = sort_rows(_or_infinity(rows))
    return ordered, _count_infinities(_last_rows(ordered, most + 1))


class Middles(NamedTuple):
    """The two middle values of what is finite, the same where its number is odd."""

    lower: jax.Array  # [n]
    upper: jax.Array  # [n]
    num_bad: jax.Array  # int32, [n]: that are not finite


def middles_of_finite(rows: jax.Array) -> Middles:
    """Find the middle values of each coordinate without sorting all values.

    Values that are not finite count in turn as infinity and as minus infinity. So the
    middles of the finite values are in the middle of all values, however many are not
    finite. The rows are sorted in two halves, and the k-th of one half is paired with
    the k-th last of the other. The lower middle is the largest of the smaller partners;
    the upper middle is the smallest of the larger partners.
    """
    balanced, num_bad = _balanced_pairs(rows)
    half = len(balanced) // 2
    below, above = _compare_pair(sort_rows(balanced[:half]), sort_rows(balanced[half:]))
    lower = functools.reduce(lambda a, b: _in_order(a, b)[1], below)
    upper = functools.reduce(lambda a, b: _in_order(a, b)[0], above)
    is_single = (rows.shape[0] - num_bad) % 2 == 1
    return Middles(lower, jnp.where(is_single, lower, upper), num_bad)


def _balanced_pairs(rows):
    """Put values that are not finite at either end in turn; return an even number."""
    balanced, num_bad = [], jnp.zeros_like(rows[0], dtype=jnp.int32)
    end = jnp.full_like(rows[0], jnp.inf)
    if len(rows) % 2:
        balanced, end = [end], -end
    for row in rows:
        is_good = jnp.isfinite(row)
        balanced.append(jnp.where(is_good, row, end))
        end = jnp.where(is_good, end, -end)
        num_bad += (~is_good).astype(jnp.int32)
    return balanced, num_bad


class Cut(NamedTuple):
    """Rows without the ends of each coordinate, as far as they must be sorted."""

    lowest: list[jax.Array]  # the smallest of each coordinate, the largest first
    kept: list[jax.Array]  # those in the middle, in any order
    num_bad: jax.Array  # int32, [n]: that are not finite; more than cut where more are


def cut_finite(rows: jax.Array, num_cut: int) -> Cut:
    """Take ``num_cut`` values away at both ends; infinity is what is not finite.

    The rows are sorted in two halves. The k-th of one half is paired with the k-th last
    of the ``num_cut`` first of the other; the smaller partners are the smallest of all
    values. This takes a quarter less of the network than sorting all rows.
    """
    if 4 * num_cut > len(rows):
        return cut_sorted(*sort_finite(rows, num_cut), num_cut)
    cleaned, half = _or_infinity(rows), len(rows) // 2
    left, right = sort_rows(cleaned[:half]), sort_rows(cleaned[half:])
    lowest, others = _compare_pair(left[:num_cut], right[:num_cut])
    more_others, _ = _compare_pair(
        _last_rows(left, num_cut), _last_rows(right, num_cut)
    )
    kept = (
        _middle_rows(left, num_cut)
        + _middle_rows(right, num_cut)
        + others
        + more_others
    )
    ends = _last_rows(left, num_cut + 1) + _last_rows(right, num_cut + 1)
    return Cut(_fall_of_bad(lowest), kept, _count_infinities(ends))


def cut_sorted(ordered: list[jax.Array], num_bad: jax.Array, num_cut: int) -> Cut:
    """Do the same to rows that are sorted already."""
    return Cut(ordered[:num_cut][::-1], _middle_rows(ordered, num_cut), num_bad)


def _last_rows(rows, number):
    return rows[len(rows) - number :]


def _middle_rows(rows, num_cut):
    return rows[num_cut : len(rows) - num_cut]


def _compare_pair(left, right):
    """Return the smaller and the larger of pairs in opposite order."""
    pairs = [_in_order(*pair) for pair in zip(left, right[::-1], strict=True)]
    return [low for low, _ in pairs], [high for _, high in pairs]


def _fall_of_bad(rows):
    """Sort rows that rise and then fall, the largest first: a bitonic merge."""
    if len(rows) < 2:
        return rows
    rows, half = list(rows), 2 ** ((len(rows) - 1).bit_length() - 1)
    for i in range(len(rows) - half):
        rows[i + half], rows[i] = _in_order(rows[i], rows[i + half])
    return _fall_of_bad(rows[:half]) + _fall_of_bad(rows[half:])


def _or_infinity(rows):
    return [jnp.where(jnp.isfinite(row), row, jnp.inf) for row in rows]


def _count_infinities(rows):
    return jnp.asarray(sum((row == jnp.inf).astype(jnp.int32) for row in rows))


def mean_of_nearest(
    ordered: list[jax.Array],
    centre_of: Callable[[list[jax.Array]], jax.Array],
    number: int,
) -> jax.Array:
    """Return the mean of the values nearest to a centre; ties go to the smaller.

    The nearest of sorted values are neighbours. They include either the i-th value or
    the value ``number`` places after it, whichever is nearer.

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


def kept_total(cut: Cut) -> jax.Array:
    """Return the sum of what is not trimmed; useless where more are bad than cut."""
    kept = functools.reduce(operator.add, cut.kept)
    for i, row in enumerate(cut.lowest):
        # Values that are not finite are dropped first; for each of them one value less
        # is dropped at either end.
        kept += jnp.where(cut.num_bad > i, row, 0)
    return kept
