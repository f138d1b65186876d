"""Residuals in few bytes: rounded at random, so that the errors average out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _tree

DTYPES = (None, "float32", "bfloat16", "int8")
ROUNDED_AT_RANDOM = ("bfloat16", "int8")


class Int8Residual(NamedTuple):
    """A residual in one byte per element."""

    values: jax.Array  # int8, shape of the leaf
    scale: jax.Array  # float32, shape of the leaf with a last axis of 1


Stored = jax.Array | Int8Residual


def zero_residual(leaf: Any, dtype: str | None) -> Stored:
    """Return a stored residual of zeros, of the shape of the leaf."""
    if dtype != "int8":
        return jnp.zeros_like(leaf, dtype=dtype)
    values = jnp.zeros_like(leaf, dtype=jnp.int8)
    scales = (*leaf.shape[:-1], 1) if leaf.shape else ()
    return Int8Residual(values, jnp.zeros_like(leaf, shape=scales, dtype=jnp.float32))


def load_residual(stored: Stored, dtype: Any) -> jax.Array:
    """Return the residual in the dtype to compute in."""
    if isinstance(stored, Int8Residual):
        return stored.values.astype(dtype) * stored.scale.astype(dtype)
    return stored.astype(dtype)


def store_residual(residual: jax.Array, dtype: str | None, key: Any) -> Stored:
    """Return the residual as stored; its expectation over keys is the residual.

    Only the dtypes in ROUNDED_AT_RANDOM need a key.
    """
    if dtype == "int8":
        scale = _largest_of_rows(residual).astype(jnp.float32) / 127
        unit = jnp.where(scale > 0, scale, 1.0).astype(residual.dtype)
        uniform = jax.random.uniform(key, residual.shape, residual.dtype)
        values = jnp.floor(residual / unit + uniform)
        return Int8Residual(jnp.clip(values, -127, 127).astype(jnp.int8), scale)
    if dtype == "bfloat16":
        return _to_bfloat16(residual.astype(jnp.float32), key)
    return residual if dtype is None else residual.astype(dtype)


def _largest_of_rows(leaf: jax.Array) -> jax.Array:
    """Return the largest magnitude along the last axis, which is kept."""
    if leaf.ndim == 0:
        return jnp.abs(leaf)
    return _tree.largest_magnitude(leaf)[..., None]


def _to_bfloat16(residual: jax.Array, key: Any) -> jax.Array:
    """Round to one of the two neighbours, at random and without bias."""
    bits = jax.lax.bitcast_convert_type(residual, jnp.uint32)
    noise = jax.random.bits(key, residual.shape, jnp.uint16).astype(jnp.uint32)
    # The carry of the lower half decides: a bfloat16 is the upper half of a float32.
    up = (bits + noise) & jnp.uint32(0xFFFF0000)
    rounded = jax.lax.bitcast_convert_type(up, jnp.float32)
    return jnp.where(jnp.isfinite(rounded), rounded, residual).astype(jnp.bfloat16)
