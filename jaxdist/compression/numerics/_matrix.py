"""Leaves as matrices: their last axis is the columns, all others the rows."""

import math

import jax
import jax.numpy as jnp


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the rows and columns; leaves with fewer than two axes have one row."""
    columns = shape[-1] if shape else 1
    return math.prod(shape[:-1]), columns


def low_rank_shrinks(shape: tuple[int, ...], rank: int) -> bool:
    """Whether factors of this rank have fewer elements than the leaf."""
    rows, columns = matrix_shape(shape)
    return len(shape) > 1 and rank * (rows + columns) < rows * columns


def as_matrix(leaf: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return the leaf as ``[n, m]``."""
    return leaf.reshape(matrix_shape(leaf.shape)).astype(dtype)
