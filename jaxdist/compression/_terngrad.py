"""TernGrad: three levels, minus, zero and plus the largest magnitude."""

import math

import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _levels, _packing, _scaling


def terngrad(block_size: int | None = 512) -> _compressor.Compressor:
    r"""Keep each sign with a probability proportional to the magnitude, unbiased.

    .. math:: C(x)_i = \|x\|_\infty\,\mathrm{sign}(x_i)\,b_i, \qquad
       P(b_i = 1) = \frac{|x_i|}{\|x\|_\infty}

    Args:
      block_size: Most elements that share a scale; None is the whole leaf (or, on the
        scatter route, the leaf's part for one worker), whose variance grows like
        :math:`\sqrt d / 2`.

    Returns:
      An unbiased compressor without state, with :math:`\omega \le (\sqrt d - 1)/2` in
      each block: ``qsgd(2, block_size, norm="max")`` in 1.6 bits instead of 2. Workers
      round independently, and most elements to zero: it is not aligned. NaN or
      infinity in a block makes the whole block non-finite.

    Raises:
      ValueError: If ``block_size`` is below 1.

    Communication:
      Payload of :math:`\lceil d/5 \rceil` bytes, five elements in each, and a float32
      per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.terngrad(),
      ...     jnp.array([2.0, 0.0, -2.0]),
      ...     jax.random.key(0),
      ... )
      >>> print(sent)
      [ 2.  0. -2.]

    References:
      Wen et al., `TernGrad: Ternary Gradients to Reduce Communication in Distributed
      Deep Learning <https://arxiv.org/abs/1705.07878>`_, 2017, Equation 1. Without
      its clipping at 2.5 standard deviations, which makes it biased, and without
      sharing the scale between workers.
    """
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        codes, scales = _levels.to_levels(
            rows, block_size, 1, _scaling.max_norms, keys.own
        )
        return (_packing.pack_trits(codes), scales), state

    def decode(payload, like, keys):
        del keys
        packed, scales = payload
        size = _tree.block_size(math.prod(like.shape), packed.shape[0])
        codes = _packing.unpack_trits(packed, size)
        return _tree.from_blocks(
            _levels.from_levels(codes, scales, block_size, 1), like
        )

    def variance(size):
        return _levels.max_variance(_tree.chunk_shape(size, block_size)[1], 1)

    # Most elements are zero at most workers, and so would be their median.
    contract = _compressor.Contract(
        unbiased=True,
        variance=variance,
        stochastic=True,
        aligned=False,
        keeps_zeros=True,
    )
    name = f"terngrad({block_size})"
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)
