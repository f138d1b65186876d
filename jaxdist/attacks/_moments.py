"""Moments: mean and deviation of the honest updates, coordinate by coordinate."""

import jax
import jax.numpy as jnp

from jaxdist import _tree


def mean_row(rows: jax.Array) -> jax.Array:
    """Return the mean of the rows ``[m, n]``."""
    return _tree.sum_rows(rows) / rows.shape[0]


def deviation_row(rows: jax.Array) -> jax.Array:
    """Return the standard deviation of the rows, with divisor m, as in the papers."""
    squares = (rows - mean_row(rows)[None]) ** 2
    return jnp.sqrt(_tree.sum_rows(squares) / rows.shape[0])
