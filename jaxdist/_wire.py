"""The wire: many arrays of many dtypes as one message of bytes, and back."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def row_nbytes(array: Any) -> int:
    """Return the bytes of one row of ``[blocks, ...]`` on the wire."""
    return math.prod(array.shape[1:]) * jnp.dtype(array.dtype).itemsize


def pack_message(arrays: Sequence[jax.Array]) -> jax.Array:
    """Concatenate arrays ``[blocks, ...]`` of any dtype to ``uint8 [blocks, n]``."""
    return jnp.concatenate([_to_bytes(array) for array in arrays], axis=1)


def unpack_message(message: jax.Array, like: Sequence[Any]) -> list[jax.Array]:
    """Invert :func:`pack_message`, exactly.

    Args:
      message: ``uint8 [rows, n]``; ``rows`` need not be the ``blocks`` that were
        packed, since every row is a message of its own.
      like: The arrays that were packed, or their shapes and dtypes.

    Returns:
      Arrays ``[rows, ...]``.
    """
    arrays, start = [], 0
    for item in like:
        stop = start + row_nbytes(item)
        arrays.append(_from_bytes(message[:, start:stop], item))
        start = stop
    return arrays


def _to_bytes(array: jax.Array) -> jax.Array:
    """View ``[blocks, ...]`` as ``uint8 [blocks, n]``."""
    blocks = array.shape[0]
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        array = jnp.stack([array.real, array.imag], axis=-1)
    elif array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    _check_whole_bytes(array.dtype)
    size = row_nbytes(array)
    return lax.bitcast_convert_type(array, jnp.uint8).reshape(blocks, size)


def _from_bytes(rows: jax.Array, like: Any) -> jax.Array:
    """View ``uint8 [rows, n]`` as ``[rows, ...]`` with the dtype of ``like``."""
    shape = (rows.shape[0], *like.shape[1:])
    if jnp.issubdtype(like.dtype, jnp.complexfloating):
        part = jnp.finfo(like.dtype).dtype
        pairs = _from_bytes(rows, jax.ShapeDtypeStruct((*shape, 2), part))
        return lax.complex(pairs[..., 0], pairs[..., 1])
    if like.dtype == jnp.bool_:
        return rows.reshape(shape).astype(jnp.bool_)
    itemsize = jnp.dtype(like.dtype).itemsize
    grouped = rows.reshape(*shape, itemsize) if itemsize > 1 else rows.reshape(shape)
    return lax.bitcast_convert_type(grouped, like.dtype)


def _check_whole_bytes(dtype: Any) -> None:
    """Raise for dtypes narrower than a byte: their padding is not ours to choose."""
    if jax.dtypes.itemsize_bits(dtype) % 8:
        raise TypeError(
            f"A payload array has dtype {dtype}, which does not fill whole bytes: "
            "pack such values into uint8 in `encode`."
        )
