"""One bit: the signs, and the mean of each of the two classes."""

import math

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _packing, _scaling


def one_bit(block_size: int | None = None) -> _compressor.Compressor:
    r"""Send the signs, eight per byte, and two means of each block.

    .. math:: C(x)_i = \begin{cases}
       \mathrm{mean}\{x_j : x_j \ge 0\} & x_i \ge 0 \\
       \mathrm{mean}\{x_j : x_j < 0\} & x_i < 0 \end{cases}

    Args:
      block_size: Most elements that share the two means; None is the whole leaf (or, on
        the scatter route, the leaf's part for one worker).

    Returns:
      A biased compressor without state, a contraction. No two values fit the signs
      better, so that :math:`\delta` is at least that of :func:`scaled_sign`,
      :math:`\|x\|_1^2 / (d\|x\|_2^2) \ge 1/d` in each block. A block keeps its
      sum. NaN or infinity in a block makes the whole block non-finite.

    Raises:
      ValueError: If ``block_size`` is below 1.

    Communication:
      Payload of :math:`\lceil d/8 \rceil` bytes of signs and two float32 per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.one_bit(), jnp.array([3.0, 1.0, -8.0])
      ... )
      >>> print(sent)
      [ 2.  2. -8.]

    References:
      Seide et al., `1-Bit Stochastic Gradient Descent and its Application to
      Data-Parallel Distributed Training of Speech DNNs
      <https://www.microsoft.com/en-us/research/publication/1-bit-stochastic-gradient-descent-and-application-to-data-parallel-distributed-training-of-speech-dnns/>`_,
      2014, Section 3. Its error feedback is :func:`error_feedback`; its two values per
      column of a matrix are those of a block here.
    """
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)

    def encode(leaf, state, keys, blocks):
        del keys
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        chunks = _tree.to_chunks(rows, block_size)
        counts = _scaling.elements_in_chunks(leaf.size, chunks.shape)
        signs = _packing.pack_bits((rows < 0).astype(jnp.uint8), 1)
        return (signs, _sign_means(chunks, jnp.asarray(counts))), state

    def decode(payload, like, keys):
        del keys
        signs, means = payload
        size = _tree.block_size(math.prod(like.shape), signs.shape[0])
        negative = _tree.to_chunks(_packing.unpack_bits(signs, 1, size) > 0, block_size)
        chunks = jnp.where(negative, means[..., 1:], means[..., :1])
        return _tree.from_blocks(_tree.from_chunks(chunks, size), like)

    def variance(size):
        return 1.0 - 1.0 / _tree.chunk_shape(size, block_size)[1]

    name = "one_bit()" if block_size is None else f"one_bit({block_size})"
    contract = _compressor.Contract(variance=variance, aligned=True)
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _sign_means(chunks: jax.Array, counts: jax.Array) -> jax.Array:
    """Return the mean of elements >= 0 and the mean of the others, ``[..., 2]``.

    Args:
      chunks: ``[..., length]``, padded with zeros.
      counts: How many elements of each chunk are no padding, ``[...]``.
    """
    largest = _scaling.max_norms(chunks)
    # Shares of the largest, so that huge elements do not overflow their sum.
    shares = _scaling.shares_of(chunks, largest)
    negatives = jnp.sum((chunks < 0).astype(jnp.float32), axis=-1)
    means = [
        jnp.sum(jnp.maximum(shares, 0.0), axis=-1) / jnp.maximum(counts - negatives, 1),
        jnp.sum(jnp.minimum(shares, 0.0), axis=-1) / jnp.maximum(negatives, 1),
    ]
    return jnp.stack(means, axis=-1) * largest[..., None]
