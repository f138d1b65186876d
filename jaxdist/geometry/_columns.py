"""A few columns of ``[W, n]`` at a time: what is made of them need not exist at once.

On a CPU so few that all rows stay in cache; on an accelerator, where each turn costs a
launch or more, as many as keep it busy.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_REDUCED = 2**14  # elements of all rows, on a CPU, of which each is used many times
_FOLDED = 2**15  # elements of all rows, on a CPU, that are multiplied
_LAUNCHED = 2**24  # elements of all rows, elsewhere
_FEWEST = 1024  # columns


def fold(
    function: Callable[..., Any],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    *rows: jax.Array,
) -> Any:
    """Return what a function finds in a few columns at a time, combined.

    Args:
      function: What is found in ``[W, m]`` of each of ``rows``, a tree of arrays.
      combine: Two such arrays become one.
      *rows: ``[W, n]`` each.
    """

    def add(width, *rows):
        whole = rows[0].shape[1] // width * width

        def body(i, total):
            found = function(*(_some(block, i * width, width) for block in rows))
            return jax.tree.map(combine, total, found)

        rest = function(*(block[:, whole:] for block in rows))
        return jax.lax.fori_loop(0, whole // width, body, rest) if whole else rest

    return _wherever(add, rows, _FOLDED)


def each(function: Callable[[jax.Array], jax.Array], rows: jax.Array) -> jax.Array:
    """Return what a function ``[W, m] -> [m]`` makes of all columns, ``[n]``."""
    return each_and_total(lambda columns: (function(columns), ()), rows)[0]


def each_and_total(
    function: Callable[[jax.Array], tuple[jax.Array, Any]], rows: jax.Array
) -> tuple[jax.Array, Any]:
    """Return what a function makes of all columns, ``[n]``, and what it adds up to.

    Args:
      function: Of ``[W, m]``; returns ``[m]``, and a tree of arrays to be added up.
      rows: ``[W, n]``.
    """

    def apply(width, rows):
        whole = rows.shape[1] // width * width
        if whole <= width:
            return function(rows)

        def body(i, carry):
            results, total = carry
            # Slices of single rows fuse with what follows; one of all is copied.
            some = [
                _some(rows[k : k + 1], i * width, width) for k in range(rows.shape[0])
            ]
            result, more = function(jnp.concatenate(some))
            results = jax.lax.dynamic_update_slice_in_dim(results, result, i * width, 0)
            return results, jax.tree.map(jnp.add, total, more)

        rest, total = function(rows[:, whole:])
        results = jnp.concatenate([jnp.zeros_like(rows[0, :whole]), rest])
        return jax.lax.fori_loop(0, whole // width, body, (results, total))

    return _wherever(apply, (jnp.asarray(rows),), _REDUCED)


def _wherever(apply, rows, cached):
    """Call ``apply(width, *rows)`` with the width for the platform that will run it."""
    height = max(sum(block.shape[0] for block in rows), 1)
    few, many = (max(_FEWEST, size // height) for size in (cached, _LAUNCHED))
    if rows[0].shape[1] <= few:
        return apply(few, *rows)
    return jax.lax.platform_dependent(
        *rows,
        cpu=functools.partial(apply, few),
        default=functools.partial(apply, many),
    )


def _some(rows, start, width):
    return jax.lax.dynamic_slice_in_dim(rows, start, width, axis=1)
