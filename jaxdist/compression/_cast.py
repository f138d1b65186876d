"""Cast: send narrower floats."""

from typing import Any

import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor


def cast(dtype: Any) -> _compressor.Compressor:
    r"""Round every element to a narrower floating dtype.

    Finite values beyond the range of ``dtype`` become its largest finite value; NaN
    stays NaN, and infinities stay infinite where ``dtype`` has them.

    Args:
      dtype: Floating dtype such as ``jnp.bfloat16``, ``jnp.float16`` or
        ``jnp.float8_e4m3fn``.

    Returns:
      A compressor without state, linear unless ``dtype`` has a single byte. A leaf
      whose dtype is not wider than ``dtype`` travels as it is. ``bfloat16`` has the
      exponents of float32 and is a contraction; the other narrow dtypes lose small
      values altogether and are none.

    Raises:
      ValueError: If ``dtype`` is not a floating dtype.

    Communication:
      Payload of :math:`d` elements of ``dtype``. Numbers are added in float32 or wider,
      so in an all-reduce they travel as such: only the routes gather and scatter save
      bytes, and ``route="auto"`` takes them.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.cast(jnp.bfloat16), jnp.array([1.001])
      ... )
      >>> print(sent)
      [1.]
    """
    target = _checks.floating_dtype("dtype", dtype)
    info = jnp.finfo(target)

    def encode(leaf, state, keys, blocks):
        del keys
        rows = _tree.to_blocks(leaf, blocks)
        if jnp.dtype(leaf.dtype).itemsize <= target.itemsize:
            return rows, state
        limit = jnp.asarray(info.max, rows.dtype)
        clipped = jnp.where(jnp.isfinite(rows), jnp.clip(rows, -limit, limit), rows)
        return clipped.astype(target), state

    def decode(payload, like, keys):
        del keys
        return _tree.from_blocks(payload, like)

    keeps_exponents = info.maxexp >= jnp.finfo(jnp.float32).maxexp
    squared_error = float(info.eps / 2) ** 2 if keeps_exponents else 1.0
    # One byte is too narrow to add in; wider floats may be summed on their way.
    contract = _compressor.Contract(
        variance=lambda size: squared_error,
        linear=target.itemsize > 1,
        aligned=True,
        keeps_zeros=float(target.type(0)) == 0,  # float8_e8m0fnu has no zero
    )
    return _compressor.Compressor(
        lambda leaf: (), encode, decode, contract, f"cast({target.name})"
    )
