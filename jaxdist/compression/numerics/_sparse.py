"""Sparse payloads: values, packed positions, and how receivers add them."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _tree


def sparse_payload(
    values: jax.Array, indices: jax.Array, length: int
) -> tuple[jax.Array, jax.Array]:
    """Return the payload of ``[blocks, chunks, kept]`` values and their indices.

    Args:
      values: The kept elements.
      indices: Where they stand in their chunks; equal ones add up.
      length: Of the chunks.
    """
    return values, pack_indices(indices.reshape(indices.shape[0], -1), length)


def accumulate_sparse(
    total: jax.Array,
    payload: tuple[jax.Array, jax.Array],
    keys: Any = None,
    share: jax.Array | float = 1.0,
) -> jax.Array:
    """Add a share of a payload whose chunks have as few elements as its shape allows.

    Args:
      total: A leaf.
      payload: Values and packed indices.
      keys: Of no use here: positions travel.
      share: What the values are multiplied with.
    """
    del keys  # positions travel
    values, packed = payload
    blocks, chunks, kept = values.shape
    rows = _tree.to_blocks(total, blocks)
    size = rows.shape[1]
    length = math.ceil(size / chunks)
    indices = unpack_indices(packed, chunks * kept, length).astype(jnp.uint32)
    starts = jnp.repeat(jnp.arange(chunks, dtype=jnp.uint32) * length, kept)
    # The padding of the last chunk is dropped here rather than cut off afterwards,
    # which would copy the leaf.
    block = jnp.arange(blocks)[:, None]
    added = rows.at[block, starts[None] + indices].add(
        values.reshape(blocks, -1).astype(rows.dtype) * share, mode="drop"
    )
    return _tree.from_blocks(added, total)


def decode_sparse(
    payload: tuple[jax.Array, jax.Array], like: Any, keys: Any = None
) -> jax.Array:
    """Return the leaf of a payload."""
    zeros = jnp.zeros_like(payload[0], shape=like.shape, dtype=like.dtype)
    return accumulate_sparse(zeros, payload, keys)


def gather_elements(chunks: jax.Array, indices: jax.Array) -> jax.Array:
    """Return the elements at the indices along the last axis."""
    return jnp.take_along_axis(chunks, indices, axis=-1, mode="clip")


def search_sorted(ascending: jax.Array, targets: jax.Array) -> jax.Array:
    """Return where each row ``[..., n]`` first reaches each target; n if never.

    By halving, as ``jnp.searchsorted`` does, which cannot be traced where an axis is
    manual beside another that is not.
    """
    length = ascending.shape[-1]
    rows = ascending.reshape(-1, length)
    shape = rows.shape[0], targets.shape[0]
    low = jnp.zeros_like(rows, shape=shape, dtype=jnp.int32)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        is_before = gather_elements(rows, middle) < targets[None]
        low = jnp.where(is_before & (low < high), middle + 1, low)
        return low, jnp.where(is_before, high, middle)

    steps = length.bit_length()
    low, _ = jax.lax.fori_loop(0, steps, halve, (low, low + length))
    return low.reshape(*ascending.shape[:-1], -1)


def pack_indices(indices: jax.Array, length: int) -> jax.Array:
    """Pack ``[blocks, count]`` numbers below ``length`` into few bytes.

    One byte for each up to a length of 256, three bytes for two up to 4096, two bytes
    up to 65 536, else four.
    """
    if length <= 2**8:
        return indices.astype(jnp.uint8)
    if length > 2**12:
        return indices.astype(jnp.uint16 if length <= 2**16 else jnp.uint32)
    blocks, count = indices.shape
    pairs = jnp.pad(indices, ((0, 0), (0, count % 2))).reshape(blocks, -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    triples = [first & 255, (first >> 8) | ((second & 15) << 4), second >> 4]
    packed = jnp.stack(triples, axis=-1).astype(jnp.uint8)
    return packed.reshape(blocks, -1)[:, : math.ceil(1.5 * count)]


def unpack_indices(packed: jax.Array, count: int, length: int) -> jax.Array:
    """Invert :func:`pack_indices`; int32."""
    if length <= 2**8 or length > 2**12:
        return packed.astype(jnp.int32)
    padded = jnp.pad(packed, ((0, 0), (0, -packed.shape[1] % 3))).astype(jnp.int32)
    low, middle, high = jnp.moveaxis(padded.reshape(padded.shape[0], -1, 3), -1, 0)
    pairs = jnp.stack([low | ((middle & 15) << 8), (middle >> 4) | (high << 4)], -1)
    return pairs.reshape(padded.shape[0], -1)[:, :count]
