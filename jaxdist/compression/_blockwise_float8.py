"""Block-wise float8: narrow floats whose range fits each block."""

from typing import Any

import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _scaling

_DTYPES = ("float8_e4m3fn", "float8_e5m2")


def blockwise_float8(
    dtype: Any = jnp.float8_e4m3fn, block_size: int | None = 256
) -> _compressor.Compressor:
    r"""Scale each block to the range of a float8, and round to it.

    .. math:: C(x)_i = \frac{\|x\|_\infty}{M}
       \mathrm{float8}\Big(\frac{M x_i}{\|x\|_\infty}\Big)

    with :math:`M` the largest number of the dtype, so that nothing overflows. Only an
    element some :math:`2^{18}` (``e4m3fn``) or :math:`2^{32}` (``e5m2``) times smaller
    than the largest becomes zero.

    Args:
      dtype: ``jnp.float8_e4m3fn``, three bits of mantissa, or ``jnp.float8_e5m2``, two
        bits and a wider range.
      block_size: Most elements that share a scale; None is the whole leaf (or, on the
        scatter route, the leaf's part for one worker).

    Returns:
      A biased compressor without state, a contraction with
      :math:`1-\delta = 1/17^2` (``e4m3fn``) or :math:`1/9^2` (``e5m2``) up to what is
      lost below the range, less than :math:`10^{-11}` per element. NaN or infinity in
      a block makes the whole block non-finite.

    Raises:
      ValueError: If ``dtype`` is another one or ``block_size`` is below 1.

    Communication:
      Payload of :math:`d` bytes and a float32 per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.blockwise_float8(), jnp.array([448.0, -17.5, 3.1])
      ... )
      >>> print(jnp.round(sent))
      [448.  -18.    3.]

    References:
      Micikevicius et al., `FP8 Formats for Deep Learning
      <https://arxiv.org/abs/2209.05433>`_, 2022, Sections 3 and 4. One scale per block
      instead of one per tensor.
    """
    target = _checks.floating_dtype("dtype", dtype)
    _checks.one_of("dtype", target.name, _DTYPES)
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)
    info = jnp.finfo(target)
    largest = float(info.max)

    def encode(leaf, state, keys, blocks):
        del keys
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        chunks = _tree.to_chunks(rows, block_size)
        scales = _scaling.max_norms(chunks)
        # A reciprocal that was rounded up would lead beyond the range.
        shares = _scaling.shares_of(chunks, scales)
        scaled = (shares * largest).astype(target)
        return (_tree.from_chunks(scaled, rows.shape[1]), scales), state

    def decode(payload, like, keys):
        del keys
        scaled, scales = payload
        chunks = _tree.to_chunks(scaled, block_size).astype(jnp.float32)
        rows = _scaling.from_shares(chunks / largest, scales)
        return _tree.from_blocks(_tree.from_chunks(rows, scaled.shape[1]), like)

    # Half a unit in the last place of 1 + eps / 2, the worst of the normal numbers.
    relative = float(info.eps) / 2 / (1 + float(info.eps) / 2)
    # Half the least number, for each element but the largest.
    absolute = float(info.smallest_subnormal) / 2 / largest

    def variance(size):
        others = _tree.chunk_shape(size, block_size)[1] - 1
        # No error is larger than its element.
        return min(1.0, relative**2 + others * absolute**2)

    name = f"blockwise_float8({target.name}, {block_size})"
    contract = _compressor.Contract(variance=variance, aligned=True, keeps_zeros=True)
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)
