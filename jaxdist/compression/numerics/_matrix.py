"""Leaves as matrices: their last axis is the columns, all others the rows."""

import math

import jax
import jax.numpy as jnp


def shape_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the rows and columns; leaves with fewer than two axes have one row."""
    columns = shape[-1] if shape else 1
    return math.prod(shape[:-1]), columns


def shrinks(shape: tuple[int, ...], rank: int) -> bool:
    """Whether factors of this rank have fewer elements than the leaf."""
    rows, columns = shape_of(shape)
    return len(shape) > 1 and rank * (rows + columns) < rows * columns


def of(leaf: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return the leaf as ``[n, m]``."""
    return leaf.reshape(shape_of(leaf.shape)).astype(dtype)
