r"""Systematic sampling: random subsets with given probabilities that always fit.

With probabilities :math:`p_i`, sums :math:`C_i = p_1 + \dots + p_i` and one uniform
:math:`u`, element :math:`i` is taken when an integer lies in
:math:`(u + C_{i-1}, u + C_i]`. It is taken with probability :math:`p_i`, and the number
taken is :math:`\sum p_i` rounded down or up: a buffer of that size never overflows.
A message whose length is drawn does not fit static shapes, and a buffer that truncates
is biased.

Neighbours are negatively dependent. The squared error :math:`\sum x_i^2 (1/p_i - 1)`
depends on the marginal probabilities alone, so the formulas of the papers hold.

Probabilities are integers out of ``2**bits``, at least 1 for every element that is not
zero, and values are scaled by the inverse of the integer. So the result is unbiased
exactly, not up to the rounding of a cumulative sum.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _scaling, _sparse

LARGEST_BLOCK = 2**16  # elements: the sums of more do not fit into 32 bits
_WIDTH = 16  # elements that are summed first, to find the run of an element


class Sampler(NamedTuple):
    """How many of how many elements are drawn, and in which units."""

    length: int  # elements in a chunk
    capacity: int  # the most that are drawn

    @classmethod
    def of(cls, size: int, density: float, block_size: int) -> "Sampler":
        """Return the sampler of the chunks of a block of ``size`` elements."""
        _, length = _tree.chunk_shape(size, block_size)
        return cls(length, _tree.kept_count(density, length))

    @property
    def bits(self) -> int:
        """Of a probability: the sum of all stays below ``2**31``."""
        return min(24, 31 - self.capacity.bit_length())

    @property
    def budget(self) -> float:
        """What probabilities may sum to, so that in units they do not exceed capacity.

        Rounding up costs at most a unit for each element, and a float32 sum of n
        positive numbers is wrong by at most ``n * 2**-24`` of it, in any order.
        """
        rounding = self.length / 2**self.bits
        return (self.capacity - rounding) * (1 - (self.length + 8) * 2**-22)

    def variance(self) -> float:
        """Return the omega of the best probabilities for the worst chunk.

        The worst chunk has equal magnitudes; there uniform probabilities are the best.
        The bound also holds for the draws with the most elements, not only on average.
        """
        if self.capacity == self.length:
            return 0.0
        scale = self.length / self.budget
        rare = self.capacity / self.budget - 1.0  # how often one element less is drawn
        return scale - 1.0 + rare * max(scale - 2.0, 0.0)


def sampled_compressor(
    name: str,
    density: float,
    block_size: int,
    level: Callable[[jax.Array, Sampler], jax.Array],
    variance: float = 0.0,
) -> _compressor.Compressor:
    """Return the compressor that keeps elements in proportion to their magnitudes.

    Args:
      name: How reports call it.
      density: Share of the elements for which there is room.
      block_size: Most elements in a chunk.
      level: Maps relative magnitudes ``[..., length]`` to levels ``[...]`` at which the
        probabilities sum to the sampler's budget at most.
      variance: Of the levels where the budget leaves room for them.
    """
    block_size = _checks.integer("block_size", block_size, 1, LARGEST_BLOCK)

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks)
        sampler = Sampler.of(rows.shape[1], density, block_size)
        chunks = _tree.to_chunks(rows, block_size)
        sizes = relative_magnitudes(chunks)
        chances = keep_probabilities(sizes, level(sizes, sampler))
        drawn = draw_elements(
            keys.own, chunks, probability_units(chances, chunks, sampler), sampler
        )
        return _sparse.sparse_payload(*drawn, sampler.length), state

    def bound(size):
        return max(variance, Sampler.of(size, density, block_size).variance())

    contract = _compressor.Contract(
        unbiased=True,
        variance=bound,
        stochastic=True,
        aligned=False,
        keeps_zeros=True,
    )
    return _compressor.Compressor(
        lambda leaf: (),
        encode,
        _sparse.decode_sparse,
        contract,
        name,
        _sparse.accumulate_sparse,
    )


def relative_magnitudes(chunks: jax.Array) -> jax.Array:
    """Return the float32 magnitudes over the largest of their chunk.

    What is not finite counts as the largest; a zero chunk stays zero.
    """
    finite = jnp.isfinite(chunks)
    size = jnp.where(finite, jnp.abs(chunks), 0).astype(jnp.float32)
    largest = jnp.max(size, axis=-1)
    return jnp.where(finite, _scaling.shares_of(size, largest), 1.0)


def water_level(sizes: jax.Array, budget: jax.Array | float) -> jax.Array:
    r"""Return the :math:`\lambda` with :math:`\sum_i \min(\lambda a_i, 1) = s`.

    Newton's method on a concave function: it rises from below to the solution and ends
    there, because every step but the last finds more elements that reach 1.

    Args:
      sizes: :math:`a` in [0, 1], ``[..., length]``.
      budget: :math:`s`; where there are no more elements than that all reach 1.

    Returns:
      ``[...]``.
    """
    return settled_level(lambda level: _newton_step(sizes, budget, level), sizes)


def settled_level(
    newton: Callable[[jax.Array], tuple[jax.Array, jax.Array]], sizes: jax.Array
) -> jax.Array:
    """Raise the level from zero until no more elements reach 1.

    Args:
      newton: Maps a level to the next one and the number that reached 1 at this one.
      sizes: ``[..., length]``.
    """
    level, full = newton(jnp.zeros_like(sizes[..., 0]))

    def unfinished(carry):
        _, full, before = carry
        return jnp.any(full > before)

    def step(carry):
        level, full, _ = carry
        return *newton(level), full

    return jax.lax.while_loop(unfinished, step, (level, full, full - 1.0))[0]


def greedy_level(sizes: jax.Array, budget: jax.Array | float, steps: int) -> jax.Array:
    """Return the level after the first estimate and ``steps`` Newton steps."""
    level = jnp.zeros_like(sizes[..., 0])
    for _ in range(1 + steps):
        level, _ = _newton_step(sizes, budget, level)
    return level


def _newton_step(sizes, budget, level):
    """Return the next level, and how many elements reached 1 at this one."""
    count = jnp.sum(full_elements(sizes, level), axis=-1)
    rest = jnp.sum(
        sizes - sizes * full_elements(sizes, level_after(level, count)), axis=-1
    )
    return raised_level(level, budget - count, rest), count


def full_elements(sizes: jax.Array, level: jax.Array) -> jax.Array:
    """Return 1.0 where an element reached 1, else 0.0; selects are 8 times slower."""
    return jnp.floor(keep_probabilities(sizes, level))


def level_after(level: jax.Array, done: jax.Array) -> jax.Array:
    """Return the level, after ``done``: two sums in one loop do not vectorise."""
    return jax.lax.optimization_barrier((level, done))[0]


def raised_level(level: jax.Array, left: jax.Array, rest: jax.Array) -> jax.Array:
    """Return ``left / rest``, or the level where nothing is left or it is lower."""
    possible = (rest > 0) & (left > 0)
    ratio = left / jnp.where(possible, rest, 1.0)
    ratio = jnp.minimum(ratio, jnp.finfo(ratio.dtype).max)
    return jnp.where(possible, jnp.maximum(ratio, level), level)


def keep_probabilities(sizes: jax.Array, level: jax.Array) -> jax.Array:
    r"""Return :math:`\min(\lambda a_i, 1)`."""
    return jnp.minimum(level[..., None] * sizes, 1.0)


def probability_units(
    probability: jax.Array, chunks: jax.Array, sampler: Sampler
) -> jax.Array:
    """Round probabilities up to uint32 multiples of ``2**-bits``.

    Every element that is not zero gets at least one unit, so that none is lost for
    good. All elements are kept where there is room for all.
    """
    whole = 2**sampler.bits
    there = chunks != 0
    rounded = jnp.ceil(probability * whole).astype(jnp.uint32)
    rounded = jnp.clip(rounded, jnp.uint32(1), jnp.uint32(whole))
    count = jnp.sum(there, axis=-1, keepdims=True, dtype=jnp.int32)
    rounded = jnp.where(count <= sampler.capacity, jnp.uint32(whole), rounded)
    return jnp.where(there, rounded, jnp.uint32(0))


def draw_elements(
    key: jax.Array, chunks: jax.Array, units: jax.Array, sampler: Sampler
) -> tuple[jax.Array, jax.Array]:
    """Draw from each chunk, and divide what is drawn by its probability.

    Args:
      key: Of the draw; chunks draw independently.
      chunks: ``[..., length]``.
      units: The probabilities as :func:`probability_units` returns them.
      sampler: Of the chunks.

    Returns:
      Values and int32 indices, ``[..., capacity]``; zeros where fewer are drawn.
    """
    whole = jnp.uint32(2**sampler.bits)
    bits = jax.random.bits(key, units.shape[:-1], jnp.uint32)
    offset = bits >> (32 - sampler.bits)
    indices = _crossed_targets(units, offset, whole, sampler.capacity)
    found = indices < sampler.length
    safe = jnp.where(found, indices, 0)
    chance = jnp.where(found, _sparse.gather_elements(units, safe), whole)
    factor = whole.astype(jnp.float32) / chance.astype(jnp.float32)
    values = _sparse.gather_elements(chunks, safe)
    scaled = _scaling.scaled_by(values.astype(jnp.float32), factor)
    scaled = narrowed_values(scaled, chunks.dtype)
    return jnp.where(found, scaled, jnp.zeros_like(scaled)), safe


def narrowed_values(values: jax.Array, dtype) -> jax.Array:
    """Cast; finite values beyond the range of the dtype become its largest."""
    limit = float(jnp.finfo(dtype).max)
    inside = jnp.clip(values, -limit, limit)
    return jnp.where(jnp.isfinite(values), inside, values).astype(dtype)


def _crossed_targets(units, offset, whole, count):
    """Return where ``offset + cumsum(units)`` first reaches 1, 2, ... times ``whole``.

    ``[..., count]``, at least the length where it never does. Sums of short runs find
    the run, and only the runs found are summed in full.
    """
    length = units.shape[-1]
    width = _WIDTH if 2 * count * _WIDTH <= length else 1
    # Materialised: the sums of runs and of elements must see the same numbers.
    units = jax.lax.optimization_barrier(units)
    runs = jnp.pad(units, [(0, 0)] * (units.ndim - 1) + [(0, -length % width)])
    runs = runs.reshape(*units.shape[:-1], -1, width)
    sums = jnp.sum(runs, axis=-1, dtype=jnp.uint32)
    ends = jnp.cumsum(sums, axis=-1, dtype=jnp.uint32) + offset[..., None]
    targets = whole * jnp.arange(1, count + 1, dtype=jnp.uint32)
    run = _sparse.search_sorted(ends, targets)
    if width == 1:
        return run
    inside = jnp.take_along_axis(runs, run[..., None], axis=-2, mode="clip")
    starts = _sparse.gather_elements(ends - sums, run)[..., None]
    reached = starts + jnp.cumsum(inside, axis=-1, dtype=jnp.uint32)
    beyond = jnp.broadcast_to(targets, run.shape)[..., None]
    place = jnp.sum(reached < beyond, axis=-1, dtype=jnp.int32)
    return jnp.where(run < sums.shape[-1], run * width + place, length)
