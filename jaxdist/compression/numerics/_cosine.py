"""Short cosine transforms around a compressor."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _matrix, _sampling, _scaling

_LARGEST = 512  # elements: the matrix is a constant of the program


def in_frequencies(
    inner: _compressor.Compressor, transform_size: int, name: str
) -> _compressor.Compressor:
    """Return a compressor of the coefficients instead of the elements.

    The transform is orthonormal: bias, variance and contraction are those of ``inner``.

    Args:
      inner: Compressor of the coefficients, without state.
      transform_size: Elements that are transformed together, in [1, 512].
      name: How reports call it.
    """
    limit = _checks.integer("transform_size", transform_size, 1, _LARGEST)

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        length, padded = _transform_lengths(rows.shape[1], limit)
        runs = jnp.pad(rows, ((0, 0), (0, padded - rows.shape[1])))
        coefficients = _transform_rows(runs.reshape(-1, length), cosine_basis(length).T)
        flat = _sampling.narrowed_values(coefficients.reshape(-1), leaf.dtype)
        return inner.encode(flat, state, keys, blocks)

    def decode(payload, like, keys):
        blocks = payload[0].shape[0]
        size = _tree.block_size(math.prod(like.shape), blocks)
        length, padded = _transform_lengths(size, limit)
        flat = jax.ShapeDtypeStruct((blocks * padded,), jnp.float32)
        coefficients = inner.decode(payload, flat, keys)
        runs = _transform_rows(coefficients.reshape(-1, length), cosine_basis(length))
        return _tree.from_blocks(runs.reshape(blocks, padded)[:, :size], like)

    def variance(size):
        return inner.contract.variance(_transform_lengths(size, limit)[1])

    contract = dataclasses.replace(
        inner.contract, variance=variance, aligned=False, keeps_zeros=False
    )
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def in_square_frequencies(
    inner: _compressor.Compressor,
    transform_size: int,
    name: str,
    variance: Callable[[int], float],
) -> _compressor.Compressor:
    """Return a compressor of the coefficients of a matrix cut into near-squares.

    Args:
      inner: Compressor of the coefficients, without state.
      transform_size: Longest side of what is transformed together, in [1, 512].
      name: How reports call it.
      variance: Bound on that of ``inner``, for every padding that a leaf may need.
    """
    limit = _checks.integer("transform_size", transform_size, 1, _LARGEST)

    def encode(leaf, state, keys, blocks):
        (rows, height), (columns, width) = _tile_shapes(leaf.shape, limit)
        matrix = _matrix.as_matrix(leaf, jnp.float32)
        missing = (rows * height, columns * width) - np.array(matrix.shape)
        padded = jnp.pad(matrix, [(0, int(count)) for count in missing])
        tiles = padded.reshape(rows, height, columns, width)
        coefficients = _transform_tiles("ia,racb,jb->rcij", height, tiles, width)
        flat = _sampling.narrowed_values(coefficients.reshape(-1), leaf.dtype)
        return inner.encode(flat, state, keys, blocks)

    def decode(payload, like, keys):
        (rows, height), (columns, width) = _tile_shapes(like.shape, limit)
        shape = (rows, columns, height, width)
        flat = jax.ShapeDtypeStruct((math.prod(shape),), jnp.float32)
        coefficients = inner.decode(payload, flat, keys).reshape(shape)
        tiles = _transform_tiles("ia,rcij,jb->racb", height, coefficients, width)
        padded = tiles.reshape(rows * height, columns * width)
        height, width = _matrix.matrix_shape(like.shape)
        return padded[:height, :width].reshape(like.shape).astype(like.dtype)

    contract = dataclasses.replace(
        inner.contract,
        variance=variance,
        aligned=False,
        keeps_zeros=False,
        splittable=False,  # a block of a matrix is none
    )
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _transform_rows(rows: jax.Array, basis: np.ndarray) -> jax.Array:
    """Multiply ``[n, length]`` by a basis; sums neither overflow nor vanish."""
    unit = _scaling.power_unit(rows, axis=-1)
    found = jnp.matmul(_scaling.in_units(rows, unit), basis, precision="highest")
    return _scaling.scaled_by(found, unit[:, None])


def _transform_tiles(axes: str, height: int, tiles: jax.Array, width: int) -> jax.Array:
    """Transform tiles along both sides; sums neither overflow nor vanish."""
    unit = _scaling.power_unit(tiles)
    found = jnp.einsum(
        axes,
        cosine_basis(height),
        _scaling.in_units(tiles, unit),
        cosine_basis(width),
        precision="highest",
    )
    return _scaling.scaled_by(found, unit)


def _tile_shapes(shape: tuple[int, ...], limit: int) -> list[tuple[int, int]]:
    """Return how many tiles of which side hold the rows, and the columns."""
    return [_tree.chunk_shape(side, limit) for side in _matrix.matrix_shape(shape)]


def _transform_lengths(size: int, limit: int) -> tuple[int, int]:
    """Return the length of a transform, and of all in a block of ``size`` elements."""
    length = min(size, limit)
    return length, math.ceil(size / length) * length


def cosine_basis(length: int) -> np.ndarray:
    """Return the orthonormal DCT-II as a float32 matrix whose rows are frequencies."""
    frequency, place = np.ogrid[:length, :length]
    waves = np.cos(np.pi * frequency * (2 * place + 1) / (2 * length))
    waves[0] /= np.sqrt(2)
    return (waves * np.sqrt(2 / length)).astype(np.float32)
