"""Random rotations: random signs, then a Hadamard transform of each chunk."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


def rotate_blocks(chunks: jax.Array, key: jax.Array) -> jax.Array:
    """Rotate ``[blocks, chunks, length]``, the same way in every block.

    Args:
      chunks: Of a length that is a power of two.
      key: Of the signs, one for each of ``[chunks, length]``.
    """
    # Two small products instead of one large one: the Hadamard matrix of a * b rows is
    # the Kronecker product of those of a and b. Left transposed, which costs nothing
    # and is undone on the way back.
    flipped = _with_signs(chunks, key)
    long, short = _size_factors(chunks.shape[-1])
    grid = _times_hadamard(flipped.reshape(-1, long, short))
    grid = _times_hadamard(grid.swapaxes(1, 2))
    return grid.reshape(chunks.shape) / math.sqrt(chunks.shape[-1])


def rotate_back(chunks: jax.Array, key: jax.Array) -> jax.Array:
    """Invert :func:`rotate_blocks`."""
    long, short = _size_factors(chunks.shape[-1])
    grid = _times_hadamard(chunks.reshape(-1, short, long))
    grid = _times_hadamard(grid.swapaxes(1, 2))
    flipped = grid.reshape(chunks.shape) / math.sqrt(chunks.shape[-1])
    return _with_signs(flipped, key)


def _size_factors(length: int) -> tuple[int, int]:
    """Return two powers of two, as equal as they can be, with this product."""
    short = 2 ** ((length.bit_length() - 1) // 2)
    return length // short, short


def _times_hadamard(rows: jax.Array) -> jax.Array:
    """Multiply the last axis by a Hadamard matrix, in full precision."""
    matrix = jnp.asarray(_hadamard_matrix(rows.shape[-1]))
    return jnp.matmul(rows, matrix, precision="highest")


@functools.cache
def _hadamard_matrix(length: int) -> np.ndarray:
    """Return Sylvester's symmetric Hadamard matrix of 1 and -1."""
    index = np.arange(length)
    ones_in_common = np.bitwise_count(index[:, None] & index)
    return np.where(ones_in_common % 2, -1, 1).astype(np.float32)


def _with_signs(chunks: jax.Array, key: jax.Array) -> jax.Array:
    """Flip the signs of about half of the elements, drawn 32 with each word."""
    shape = chunks.shape[1:]
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 32), 1), jnp.uint32)
    bits = words >> jnp.arange(32, dtype=jnp.uint32)[None] & 1
    flip = bits.reshape(-1)[:size].reshape(1, *shape) > 0
    return jnp.where(flip, -chunks, chunks)
