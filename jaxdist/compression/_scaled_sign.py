"""Scaled sign: one bit per element and one scale per block."""

import jax.numpy as jnp
import numpy as np

from jaxdist import _checks, _tree, _types


def scaled_sign(block_size: int | None = None) -> _types.Compressor:
    r"""Send the signs, eight per byte, and the mean magnitude of each block.

    .. math:: C(x) = \frac{\|x\|_1}{d}\,\mathrm{sign}(x)

    Args:
      block_size: Most elements that share a scale; None is the whole leaf (or, on the
        scatter route, the leaf's part for one worker).

    Returns:
      A biased compressor without state, a contraction with
      :math:`\delta = \|x\|_1^2 / (d\|x\|_2^2) \ge 1/d` in each block. Zeros count as
      positive in a block that is not zero; a zero block stays zero. NaN or infinity
      in a block makes the whole block non-finite.

    Raises:
      ValueError: If ``block_size`` is below 1.

    Communication:
      Payload of :math:`\lceil d/8 \rceil` bytes of signs and a float32 per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(jaxdist.scaled_sign(), jnp.array([3.0, -1.0]))
      >>> print(sent)
      [ 2. -2.]

    References:
      Karimireddy et al., `Error Feedback Fixes SignSGD and other Gradient Compression
      Schemes <https://arxiv.org/abs/1901.09847>`_, 2019, Example 4.
    """
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)

    def encode(leaf, state, keys, blocks):
        del keys
        rows = _tree.to_blocks(leaf, blocks)
        chunks = _tree.to_chunks(jnp.abs(rows.astype(jnp.float32)), block_size)
        counts = _elements_in_chunks(leaf.size, chunks.shape)
        # Divided before they are added, so that huge elements do not overflow.
        scales = jnp.sum(chunks / counts[..., None], axis=-1)
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
        return 1.0 - 1.0 / _tree.chunk_shape(size, block_size)[1]

    name = "scaled_sign()" if block_size is None else f"scaled_sign({block_size})"
    return _types.Compressor(
        lambda leaf: (), encode, decode, _types.Contract(variance=variance), name
    )


def _elements_in_chunks(size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return how many elements of each chunk are the leaf's own, at least 1."""
    blocks, chunks, length = shape
    block = _tree.block_size(size, blocks)
    in_block = np.clip(size - block * np.arange(blocks), 0, block)
    in_chunk = in_block[:, None] - length * np.arange(chunks)
    return np.clip(in_chunk, 1, length).astype(np.float32)
