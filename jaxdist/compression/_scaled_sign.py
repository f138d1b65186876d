"""Scaled sign: one bit per element and one scale per block."""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _scaling


def scaled_sign(
    block_size: int | None = None, scale: Literal["l1", "l2"] = "l1"
) -> _compressor.Compressor:
    r"""Send the signs, eight per byte, and a mean magnitude of each block.

    .. math:: C(x) = \frac{\|x\|_1}{d}\,\mathrm{sign}(x) \quad\text{or}\quad
       \frac{\|x\|_2}{\sqrt d}\,\mathrm{sign}(x)

    Args:
      block_size: Most elements that share a scale; None is the whole leaf (or, on the
        scatter route, the leaf's part for one worker).
      scale: ``"l1"``, the mean magnitude, which is closest to the block, or ``"l2"``,
        the root mean square, which keeps its norm.

    Returns:
      A biased compressor without state. With ``"l1"`` a contraction with
      :math:`\delta = \|x\|_1^2 / (d\|x\|_2^2) \ge 1/d` in each block. With ``"l2"``
      no contraction: the squared error is
      :math:`2(1 - \|x\|_1/(\sqrt d\|x\|_2)) \le 2(1 - 1/\sqrt d)` of
      :math:`\|x\|_2^2`, more than the whole of it where few elements are large. So
      :func:`error_feedback` refuses blocks of more than three. Zeros count as positive
      in a block that is not zero; a zero block stays zero. NaN or infinity in a block
      makes the whole block non-finite.

    Raises:
      ValueError: If ``block_size`` is below 1 or ``scale`` is neither ``"l1"`` nor
        ``"l2"``.

    Communication:
      Payload of :math:`\lceil d/8 \rceil` bytes of signs and a float32 per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.scaled_sign(), jnp.array([3.0, -1.0])
      ... )
      >>> print(sent)
      [ 2. -2.]

    References:
      Karimireddy et al., `Error Feedback Fixes SignSGD and other Gradient Compression
      Schemes <https://arxiv.org/abs/1901.09847>`_, 2019, Example 4.
      ``"l2"`` is the scale of the 1-bit Adam of Tang et al.,
      `<https://arxiv.org/abs/2102.02888>`_, 2021, in DeepSpeed.
    """
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)
    _checks.one_of("scale", scale, ("l1", "l2"))

    def encode(leaf, state, keys, blocks):
        del keys
        rows = _tree.to_blocks(leaf, blocks)
        chunks = _tree.to_chunks(jnp.abs(rows.astype(jnp.float32)), block_size)
        counts = _scaling.elements_in_chunks(leaf.size, chunks.shape)
        if scale == "l1":
            scales = _mean_magnitudes(chunks, counts)
        else:
            scales = _root_mean_squares(chunks, counts)
        return (jnp.packbits(rows >= 0, axis=-1), scales), state

    def decode(payload, like, keys):
        del keys
        bits, scales = payload
        size = _tree.block_size(np.prod(like.shape, dtype=int), bits.shape[0])
        positive = jnp.unpackbits(bits, axis=-1, count=size).astype(jnp.bool_)
        chunks = _tree.to_chunks(positive, block_size)
        scales = scales[..., None]
        rows = _tree.from_chunks(jnp.where(chunks, scales, -scales), size)
        return _tree.from_blocks(rows, like)

    def variance(size):
        length = _tree.chunk_shape(size, block_size)[1]
        if scale == "l1":
            return 1.0 - 1.0 / length
        return 2.0 * (1.0 - 1.0 / math.sqrt(length))

    shown = [] if block_size is None else [f"{block_size}"]
    shown += [] if scale == "l1" else [f"scale={scale!r}"]
    name = f"scaled_sign({', '.join(shown)})"
    contract = _compressor.Contract(variance=variance, aligned=True)
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _mean_magnitudes(chunks, counts):
    """Return the means; the sum of a large chunk could overflow."""
    largest = _scaling.max_norms(chunks)
    shares = _scaling.shares_of(chunks, largest)
    return largest * jnp.minimum(jnp.sum(shares, axis=-1) / counts, 1.0)


def _root_mean_squares(chunks, counts):
    """Return the root mean squares; the norm of a large chunk could overflow."""
    largest = _scaling.max_norms(chunks)
    shares = _scaling.shares_of(chunks, largest)
    return largest * jnp.sqrt(jnp.sum(shares**2, axis=-1) / counts)
