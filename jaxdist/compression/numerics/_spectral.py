"""Spectral sampling: singular values drawn with the probabilities of least variance."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _matrix, _sampling, _scaling


def spectral_compressor(name: str, density: float) -> _compressor.Compressor:
    """Return the compressor that sends a random few of a matrix's singular triples.

    Args:
      name: How reports call it.
      density: Numbers that travel, as a share of the elements of the leaf.
    """

    def encode(leaf, state, keys, blocks):
        del blocks  # is 1: a matrix cannot be split
        rank = _payload_rank(leaf.shape, density)
        if not rank:
            return leaf[None], state
        # In units of the largest element no square overflows or vanishes.
        matrix = _matrix.as_matrix(leaf, jnp.float32)
        largest = _tree.largest_magnitude(matrix, axis=None)
        # LAPACK may never return from a matrix with NaN, so it gets none.
        finite = jnp.isfinite(largest)
        safe = jnp.where(finite, _scaling.shares_of(matrix, largest), 0)
        left, values, right = jnp.linalg.svd(safe, full_matrices=False)
        drawn, indices = _draw_values(keys.own, values, rank)
        weighted = _scaling.scaled_by(left[:, indices] * drawn[None], largest)
        weighted = jnp.where(finite, weighted, jnp.nan)
        pair = (_sampling.narrowed_values(weighted, leaf.dtype), right[indices])
        return tuple(factor[None].astype(leaf.dtype) for factor in pair), state

    def decode(payload, like, keys):
        del keys
        if not _payload_rank(like.shape, density):
            return payload[0].astype(like.dtype)
        left, right = (factor[0].astype(jnp.float32) for factor in payload)
        unit = _scaling.power_unit(left)
        shares = _scaling.in_units(left, unit)
        product = jnp.matmul(shares, right, precision="highest")
        product = _scaling.scaled_by(product, unit)
        return product.reshape(like.shape).astype(like.dtype)

    contract = _compressor.Contract(
        unbiased=True,
        variance=functools.partial(_worst_variance, density),
        splittable=False,
        stochastic=True,
    )
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _draw_values(
    key: jax.Array, values: jax.Array, rank: int
) -> tuple[jax.Array, jax.Array]:
    """Return ``rank`` of the singular values over their probabilities, and which."""
    chunks = values[None, None]
    sampler = _sampling.Sampler(values.shape[0], rank)
    sizes = _sampling.relative_magnitudes(chunks)
    level = _sampling.water_level(sizes, sampler.budget)
    units = _sampling.probability_units(
        _sampling.keep_probabilities(sizes, level), chunks, sampler
    )
    drawn, indices = _sampling.draw_elements(key, chunks, units, sampler)
    return drawn[0, 0], indices[0, 0]


def _payload_rank(shape: tuple[int, ...], density: float) -> int:
    """Return how many triples travel; 0 where the leaf itself takes no more."""
    rows, columns = _matrix.matrix_shape(shape)
    fits = int(density * rows * columns / (rows + columns)) if rows * columns else 0
    rank = max(1, fits)
    within = min(rows, columns) <= _sampling.LARGEST_BLOCK
    return rank if within and _matrix.low_rank_shrinks(shape, rank) else 0


@functools.lru_cache(maxsize=4096)
def _worst_variance(density: float, size: int) -> float:
    """Return the largest omega of all matrices with so many elements.

    The worst has equal singular values: those of which few are drawn of many.
    """
    shapes = [
        (rows, size // rows)
        for rows in range(1, math.isqrt(size) + 1)
        if size % rows == 0
    ]
    ranks = [(min(shape), _payload_rank(shape, density)) for shape in shapes]
    return max(
        (_sampling.Sampler(*pair).variance() for pair in ranks if pair[1]), default=0.0
    )
