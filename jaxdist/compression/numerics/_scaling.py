"""Scaling: norms of chunks, and chunks in units of them, at both ends of float32.

What is finite stays finite: a product that overflows becomes the largest number. XLA
may factor a unit out of a product, and flush what is then too small to zero; bounds
that change nothing keep it from doing so.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _tree

_EXPONENT = np.uint32(0x7F800000)  # the bits of a float32 that hold its exponent
_SMALL = 2.0**-3  # brings every finite number into the range that has reciprocals


def max_norms(chunks: jax.Array) -> jax.Array:
    """Return the largest magnitudes over the last axis; NaN if not finite."""
    return _tree.largest_magnitude(chunks)


def l2_norms(chunks: jax.Array) -> jax.Array:
    """Return the L2 norms over the last axis; squares neither overflow nor vanish."""
    largest = max_norms(chunks)
    squares = jnp.sum(shares_of(chunks, largest) ** 2, axis=-1)
    return scaled_by(jnp.sqrt(squares), largest)


def in_units(chunks: jax.Array, norms: jax.Array) -> jax.Array:
    """Divide ``[..., n]`` by the norms ``[...]``, or by one for all.

    A chunk of norm 0 stays 0.
    """
    # XLA divides by a shared number by multiplying with its reciprocal, which is
    # flushed to zero where the number is close to the largest.
    shrink = jnp.where(norms > 1, _SMALL, 1.0).astype(norms.dtype)
    unit = jnp.where(norms > 0, norms, 1.0) * shrink
    if norms.ndim:
        shrink, unit = shrink[..., None], unit[..., None]
    return chunks * shrink / unit


def shares_of(chunks: jax.Array, norms: jax.Array) -> jax.Array:
    """Divide ``[..., n]`` by norms ``[...]`` that are at least its magnitudes."""
    return jnp.clip(in_units(chunks, norms), -1.0, 1.0)


def from_shares(shares: jax.Array, norms: jax.Array) -> jax.Array:
    """Multiply shares ``[..., n]``, at most 1, by the norms ``[...]``."""
    return jnp.clip(shares, -1.0, 1.0) * norms[..., None]


def power_unit(values: jax.Array, axis: int | None = None) -> jax.Array:
    """Return the power of two at or below the largest finite magnitude; 1 for zeros."""
    magnitudes = jnp.where(jnp.isfinite(values), jnp.abs(values), 0)
    largest = jnp.max(magnitudes, axis=axis, initial=0)
    # Wider numbers need no unit beyond those of float32.
    narrow = jnp.minimum(largest, float(jnp.finfo(jnp.float32).max)).astype(jnp.float32)
    exponent = jax.lax.bitcast_convert_type(narrow, jnp.uint32) & _EXPONENT
    unit = jax.lax.bitcast_convert_type(exponent, jnp.float32)
    return jnp.where(unit > 0, unit, 1.0).astype(values.dtype)


def scaled_by(values: jax.Array, unit: jax.Array | float) -> jax.Array:
    """Return ``values * unit``; what would overflow becomes the largest number."""
    product = values * unit
    limit = jnp.finfo(product.dtype).max
    known = jnp.isfinite(values) & jnp.isfinite(unit)
    return jnp.where(known, jnp.clip(product, -limit, limit), product)


def elements_in_chunks(size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return how many elements of each chunk are the leaf's own, at least 1."""
    blocks, chunks, length = shape
    block = _tree.block_size(size, blocks)
    in_block = np.clip(size - block * np.arange(blocks), 0, block)
    in_chunk = in_block[:, None] - length * np.arange(chunks)
    return np.clip(in_chunk, 1, length).astype(np.float32)
