"""Scaling: norms of chunks, and chunks in units of them, at both ends of float32."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _tree

_SMALL = 2.0**-3  # brings every finite number into the range that has reciprocals


def max_norms(chunks: jax.Array) -> jax.Array:
    """Return the largest magnitudes over the last axis; NaN if not finite."""
    return _tree.largest_magnitude(chunks)


def l2_norms(chunks: jax.Array) -> jax.Array:
    """Return the L2 norms over the last axis; squares neither overflow nor vanish."""
    largest = max_norms(chunks)
    # The minimum changes nothing, but keeps XLA from factoring the unit out again.
    scaled = jnp.minimum(jnp.abs(in_units(chunks, largest)), 1.0)
    return largest * jnp.sqrt(jnp.sum(scaled**2, axis=-1))


def in_units(chunks: jax.Array, norms: jax.Array) -> jax.Array:
    """Divide ``[..., n]`` by the norms ``[...]``; a chunk of norm 0 stays 0."""
    # XLA divides by a shared number by multiplying with its reciprocal, which is
    # flushed to zero where the number is close to the largest.
    shrink = jnp.where(norms > 1, _SMALL, 1.0)
    unit = jnp.where(norms > 0, norms, 1.0) * shrink
    return chunks * shrink[..., None] / unit[..., None]


def elements_in_chunks(size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return how many elements of each chunk are the leaf's own, at least 1."""
    blocks, chunks, length = shape
    block = _tree.block_size(size, blocks)
    in_block = np.clip(size - block * np.arange(blocks), 0, block)
    in_chunk = in_block[:, None] - length * np.arange(chunks)
    return np.clip(in_chunk, 1, length).astype(np.float32)
