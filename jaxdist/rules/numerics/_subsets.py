"""All subsets of W - f workers, numbered in lexicographic order, a few at a time."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdist.geometry import _geometry

MOST = 1_000_000  # subsets that are compared; each takes a few microseconds
_TOGETHER = 1024


def check_number(name: str, num_byzantine: int, num_workers: int) -> None:
    """Raise when there are too many subsets to look at."""
    number = math.comb(num_workers, num_byzantine)
    if number > MOST:
        raise ValueError(
            f"`num_byzantine` {num_byzantine} of {num_workers} workers leaves {number} "
            f"subsets, but {name} looks at each of them and takes up to {MOST}. Use "
            "fewer workers, or a rule that needs no subsets, such as "
            "nnm(f, then=trimmed_mean(f))."
        )


def subset_members(
    numbers: jax.Array, num_byzantine: int, num_workers: int
) -> jax.Array:
    r"""Return the members of each of the subsets ``[n]``, bool ``[n, W]``.

    A subset is numbered by the workers that it leaves out. With :math:`c_f > \dots >
    c_1` their places counted from the last worker, its number is
    :math:`\binom{c_f}{f} + \dots + \binom{c_1}{1}`.
    """
    kept = jnp.ones_like(numbers, shape=(numbers.shape[0], num_workers), dtype=bool)
    left = numbers
    for place in range(num_byzantine, 0, -1):
        before = jnp.asarray([math.comb(c, place) for c in range(num_workers)])
        before = before.astype(numbers.dtype)
        c = jnp.sum(before[None] <= left[:, None], axis=1) - 1
        left -= before[c]
        kept &= jnp.arange(num_workers)[None] != (num_workers - 1 - c)[:, None]
    return kept


def subset_scores(
    score: Callable[[jax.Array], jax.Array],
    geometry: _geometry.Geometry,
    num_byzantine: int,
) -> jax.Array:
    """Return the scores of all subsets; infinity where a member is not finite.

    Args:
      score: ``members [n, W] -> scores [n]``.
      geometry: Of the workers.
      num_byzantine: How many are left out.
    """
    num_workers = geometry.finite.shape[0]
    num_counted = geometry.num_present(num_workers) - num_byzantine
    number = math.comb(num_workers, num_byzantine)
    together = min(number, _TOGETHER)

    def some(start):
        numbers = jnp.minimum(start + jnp.arange(together), number - 1)
        kept = subset_members(numbers, num_byzantine, num_workers)
        there = kept & geometry.present[None]
        found = score(there)
        # Those left out must be among those who are there, W - f without them.
        all_count = jnp.sum(there, axis=1, dtype=jnp.int32) == num_counted
        trusted = all_count & ~jnp.any(there & ~geometry.finite[None], axis=1)
        return jnp.where(trusted, found, jnp.inf)

    starts = jnp.arange(-(-number // together)) * together
    return jax.lax.map(some, starts).reshape(-1)[:number]


def weights_of(
    number: jax.Array, geometry: _geometry.Geometry, num_byzantine: int
) -> jax.Array:
    """Return weights ``[1, W]`` of the mean over one subset."""
    num_workers = geometry.finite.shape[0]
    kept = (
        subset_members(number[None], num_byzantine, num_workers) & geometry.finite[None]
    )
    number_kept = geometry.num_present(num_workers) - num_byzantine
    dtype = geometry.squared_norms.dtype
    return kept.astype(dtype) / jnp.asarray(number_kept, dtype)
