"""Spectral sampling: singular values drawn with the probabilities of least variance."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _matrix, _sampling, _scaling


def spectral_compressor(
    name: str, density: float, axes: _matrix.MatrixAxes | None
) -> _compressor.Compressor:
    """Return the compressor that sends a random few of a matrix's singular triples.

    Args:
      name: How reports call it.
      density: Numbers that travel, as a share of the elements of the leaf.
      axes: How a leaf is one matrix, or many.
    """

    def encode(leaf, state, keys, blocks):
        del blocks  # is 1: a matrix cannot be split
        stack = _matrix.stack_of(leaf.shape, axes)
        rank = _payload_rank(stack, density)
        if not rank:
            return leaf[None], state
        # In units of the largest element no square overflows or vanishes.
        matrices = stack.split(leaf, jnp.float32)
        largest = _tree.largest_magnitude(matrices.reshape(matrices.shape[0], -1))
        unit = largest[:, None]
        # LAPACK may never return from a matrix with NaN, so it gets none.
        finite = jnp.isfinite(unit)[..., None]
        shares = _scaling.shares_of(
            matrices, jnp.broadcast_to(unit, matrices.shape[:2])
        )
        safe = jnp.where(finite, shares, 0)
        left, values, right = jnp.linalg.svd(safe, full_matrices=False)
        drawn, indices = _draw_values(keys.own, values, rank)  # [b, rank]
        left = jnp.take_along_axis(left, indices[:, None], axis=2)
        right = jnp.take_along_axis(right, indices[..., None], axis=1)
        weighted = _scaling.scaled_by(left * drawn[:, None], unit[..., None])
        weighted = jnp.where(finite, weighted, jnp.nan)
        pair = (_sampling.narrowed_values(weighted, leaf.dtype), right)
        return tuple(factor[None].astype(leaf.dtype) for factor in pair), state

    def decode(payload, like, keys):
        del keys
        stack = _matrix.stack_of(like.shape, axes)
        if not _payload_rank(stack, density):
            return payload[0].astype(like.dtype)
        left, right = (factor[0].astype(jnp.float32) for factor in payload)
        unit = _scaling.power_unit(left)
        shares = _scaling.in_units(left, unit)
        product = jnp.matmul(shares, right, precision="highest")
        product = _scaling.scaled_by(product, unit)
        return stack.join(product).astype(like.dtype)

    contract = _compressor.Contract(
        unbiased=True,
        variance=functools.partial(_worst_variance, density, axes is not None),
        splittable=False,
        stochastic=True,
        aligned=True,
    )
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _draw_values(
    key: jax.Array, values: jax.Array, rank: int
) -> tuple[jax.Array, jax.Array]:
    """Return ``rank`` of the singular values ``[b, s]`` over their probabilities."""
    chunks = values[None]
    sampler = _sampling.Sampler(values.shape[-1], rank)
    sizes = _sampling.relative_magnitudes(chunks)
    level = _sampling.water_level(sizes, sampler.budget)
    units = _sampling.probability_units(
        _sampling.keep_probabilities(sizes, level), chunks, sampler
    )
    drawn, indices = _sampling.draw_elements(key, chunks, units, sampler)
    return drawn[0], indices[0]


def _payload_rank(stack: _matrix.Stack, density: float) -> int:
    """Return how many triples travel; 0 where the leaf itself takes no more."""
    rows, columns = stack.matrix_shape
    fits = int(density * rows * columns / (rows + columns)) if rows * columns else 0
    rank = max(1, fits)
    within = min(rows, columns) <= _sampling.LARGEST_BLOCK
    return rank if within and stack.shrinks(rank) else 0


@functools.lru_cache(maxsize=4096)
def _worst_variance(density: float, is_stack: bool, size: int) -> float:
    """Return the largest omega of all leaves with so many elements.

    The worst has equal singular values: those of which few are drawn of many.
    """
    sizes = _divisors(size) if is_stack else [size]
    shapes = {(rows, one // rows) for one in sizes for rows in _divisors(one)}
    stacks = [_matrix.stack_of(shape, None) for shape in shapes]
    ranks = [(min(stack.shape), _payload_rank(stack, density)) for stack in stacks]
    return max(
        (_sampling.Sampler(*pair).variance() for pair in ranks if pair[1]), default=0.0
    )


def _divisors(number: int) -> list[int]:
    """Return all divisors."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return [*small, *(number // d for d in small)]
