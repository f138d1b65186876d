"""A few columns of ``[W, n]`` at a time, so that no result of the size of all exists.

On a CPU the columns of all rows stay in cache. On an accelerator each turn of the loop
costs a launch or more, so a turn takes a thousand times as many columns.
`jax.lax.platform_dependent` chooses when the program is lowered.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

FEW = 64  # rows that are taken one by one; a program of more takes minutes to compile
_CACHED = 2**15  # elements of all rows, on a CPU
_LAUNCHED = 2**24  # elements of all rows, elsewhere
_FEWEST = 1024  # columns
_ALIGNED = 64  # columns, a multiple of what a processor takes at once


def fold_columns(
    function: Callable[..., Any],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    *rows: jax.Array,
) -> Any:
    """Apply a function to a few columns at a time, and combine its results.

    Args:
      function: Takes ``[W, m]`` of each of ``rows``, and returns a tree of arrays.
      combine: Makes one array of two.
      *rows: ``[W, n]`` each.
    """

    def add(width, *rows):
        whole = rows[0].shape[1] // width * width

        def body(i, total):
            found = function(
                *(_some_columns(block, i * width, width) for block in rows)
            )
            return jax.tree.map(combine, total, found)

        rest = function(*(block[:, whole:] for block in rows))
        return jax.lax.fori_loop(0, whole // width, body, rest) if whole else rest

    return _by_platform(add, rows)


def map_columns(
    function: Callable[[jax.Array], jax.Array], rows: jax.Array
) -> jax.Array:
    """Return the results ``[n]`` of a function ``[W, m] -> [m]`` for all columns."""

    def with_truth(columns):
        return function(columns), jnp.ones_like(columns, shape=(), dtype=bool)

    return map_columns_and_all(with_truth, rows)[0]


def map_columns_and_all(
    function: Callable[[jax.Array], tuple[jax.Array, jax.Array]], rows: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return a function's results for all columns, and whether its truth holds for all.

    Args:
      function: Of ``[W, m]``; returns ``[m]``, and a bool ``()``.
      rows: ``[W, n]``.
    """

    def apply(width, rows):
        num_columns = rows.shape[1]
        if num_columns <= width:
            return function(rows)
        num_turns = -(-num_columns // width)
        width = -(-num_columns // (num_turns * _ALIGNED)) * _ALIGNED

        def body(i, carry):
            results, holds = carry
            # The last turn repeats some columns. If the rest were computed apart, XLA
            # would fuse it with the empty results and might compute it for every
            # column, three times the time of the rule.
            start = jnp.minimum(i * width, num_columns - width)
            result, here = function(_fused_columns(rows, start, width))
            results = jax.lax.dynamic_update_slice_in_dim(results, result, start, 0)
            return results, holds & here

        carry = jnp.zeros_like(rows[0]), jnp.ones_like(rows, shape=(), dtype=bool)
        return jax.lax.fori_loop(0, num_turns, body, carry)

    return _by_platform(apply, (jnp.asarray(rows),))


def _by_platform(apply, rows):
    """Call ``apply(width, *rows)`` with the width for the platform that will run it."""
    height = max(sum(block.shape[0] for block in rows), 1)
    few, many = (max(_FEWEST, size // height) for size in (_CACHED, _LAUNCHED))
    if rows[0].shape[1] <= few:
        return apply(few, *rows)
    return jax.lax.platform_dependent(
        *rows,
        cpu=functools.partial(apply, few),
        default=functools.partial(apply, many),
    )


def _fused_columns(rows, start, width):
    """Slice row by row, which fuses with what follows; a slice of all is copied."""
    if rows.shape[0] > FEW:
        return _some_columns(rows, start, width)
    single = (rows[k : k + 1] for k in range(rows.shape[0]))
    return jnp.concatenate([_some_columns(row, start, width) for row in single])


def _some_columns(rows, start, width):
    return jax.lax.dynamic_slice_in_dim(rows, start, width, axis=1)
