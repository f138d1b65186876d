"""Group soft threshold: rows become shorter by the same length, short ones zero."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree


def group_soft_threshold(values: Any, threshold: Any) -> jax.Array:
    r"""Shorten each row, the proximal operator of the sum of their norms.

    .. math:: x_i = \max\Big(0, 1 - \frac{t}{\|z_i\|}\Big)\,z_i
       = \arg\min_{x} \tfrac12\|x - z_i\|^2 + t\|x\|

    Args:
      values: z, floating ``[..., n]``: rows are along the last axis.
      threshold: t, at least 0, in the unit of the values.

    Returns:
      What is left, of the same shape and dtype. Rows that are not longer than the
      threshold are exactly 0; a row with NaN or infinity is NaN.

    Raises:
      TypeError: If ``values`` is no array.
      ValueError: If ``values`` are not floating numbers of at least one axis, or
        ``threshold`` is negative.

    Communication:
      None.

    Example:
      >>> rows = jnp.array([[3.0, 4.0], [0.3, 0.4]])
      >>> print(jaxdist.contrib.group_soft_threshold(rows, 2.5))
      [[1.5 2. ]
       [0.  0. ]]

    References:
      Yuan and Lin, `Model Selection and Estimation in Regression with Grouped Variables
      <https://doi.org/10.1111/j.1467-9868.2005.00532.x>`_, 2006.
    """
    values = _checks.array("values", values)
    if not jnp.issubdtype(values.dtype, jnp.floating) or values.ndim < 1:
        raise ValueError(
            "`values` must be floating numbers [..., n], got "
            f"{values.dtype} {values.shape}."
        )
    dtype = _tree.accumulator_dtype(values.dtype)
    threshold = jnp.asarray(_checks.real("threshold", threshold, 0.0), dtype)
    lengths = _row_lengths(values.astype(dtype))
    is_long = ~(lengths <= threshold)  # NaN too
    share = 1 - threshold / jnp.where(is_long, lengths, 1)
    return jnp.where(is_long, share.astype(values.dtype) * values, 0)


def _row_lengths(rows):
    """Return norms ``[..., 1]`` of rows of any size, with derivatives at zeros too."""
    largest = jnp.max(jnp.abs(rows), axis=-1, keepdims=True, initial=0)
    unit = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    squares = jnp.sum((rows / unit) ** 2, axis=-1, keepdims=True)
    is_zero = squares == 0
    return jnp.where(is_zero, 0, unit * jnp.sqrt(jnp.where(is_zero, 1, squares)))
