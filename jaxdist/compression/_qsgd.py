"""QSGD: stochastic rounding to a few levels of a norm."""

import math

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree, _types


def qsgd(bits: int = 8, block_size: int | None = 512) -> _types.Compressor:
    r"""Round every element at random to one of :math:`2s+1` levels, unbiased.

    .. math:: C(x)_i = \|x\|_2\,\mathrm{sign}(x_i)\,\xi_i/s, \quad \xi_i \in
       \{\lfloor u_i \rfloor, \lfloor u_i \rfloor + 1\}, \quad u_i = s|x_i|/\|x\|_2,
       \quad \mathbb{E}\,\xi_i = u_i, \quad s = 2^{\text{bits}-1} - 1

    Args:
      bits: Bits per coordinate in [2, 8], sign included.
      block_size: Most elements that share a norm; None is the whole leaf (or, on the
        scatter route, the leaf's part for one worker), whose variance grows like
        :math:`\sqrt d / s`.

    Returns:
      An unbiased compressor without state, with
      :math:`\omega = \min(d/s^2, \sqrt d/s)` in each block. Workers round
      independently. NaN or infinity in a block makes the whole block non-finite.

    Raises:
      ValueError: If ``bits`` is outside [2, 8] or ``block_size`` is below 1.

    Communication:
      Payload of :math:`\text{bits} \cdot \lceil d/8 \rceil` bytes (bit planes) and a
      float32 per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.qsgd(bits=8), jnp.array([3.0, -4.0]), jax.random.key(0)
      ... )
      >>> print(jnp.abs(sent - jnp.array([3.0, -4.0])).max() < 5 / 127)
      True

    References:
      Alistarh et al., `QSGD: Communication-Efficient SGD via Gradient Quantization and
      Encoding <https://arxiv.org/abs/1610.02132>`_, 2017, Section 3.1. Fixed-width
      codes instead of Elias codes.
    """
    bits = _checks.integer("bits", bits, 2, 8)
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)
    levels = 2 ** (bits - 1) - 1

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        chunks = _tree.to_chunks(rows, block_size)
        norms = _norms(chunks)
        unit = jnp.where(norms > 0, norms, 1.0)[..., None]
        uniform = jax.random.uniform(keys.own, chunks.shape)
        level = jnp.floor(jnp.abs(chunks) / unit * levels + uniform)
        signed = jnp.sign(chunks) * jnp.minimum(level, levels)
        codes = _tree.from_chunks(signed + levels, rows.shape[1])
        return (_to_planes(codes.astype(jnp.uint8), bits), norms), state

    def decode(payload, like, keys):
        del keys
        planes, norms = payload
        size = _tree.block_size(math.prod(like.shape), planes.shape[0])
        signed = _from_planes(planes, size).astype(jnp.float32) - levels
        chunks = _tree.to_chunks(signed, block_size) * (norms / levels)[..., None]
        return _tree.from_blocks(_tree.from_chunks(chunks, size), like)

    def variance(size):
        length = _tree.chunk_shape(size, block_size)[1]
        return min(length / levels**2, math.sqrt(length) / levels)

    contract = _types.Contract(unbiased=True, variance=variance, stochastic=True)
    name = f"qsgd({bits}, {block_size})"
    return _types.Compressor(lambda leaf: (), encode, decode, contract, name)


def _norms(chunks: jax.Array) -> jax.Array:
    """Return the L2 norms over the last axis; squares neither overflow nor vanish."""
    largest = jnp.max(jnp.abs(chunks), axis=-1)
    unit = jnp.where(largest > 0, largest, 1.0)[..., None]
    # The minimum changes nothing, but keeps XLA from factoring the unit out again.
    scaled = jnp.minimum(jnp.abs(chunks) / unit, 1.0)
    return largest * jnp.sqrt(jnp.sum(scaled**2, axis=-1))


def _to_planes(codes: jax.Array, bits: int) -> jax.Array:
    """Pack ``uint8 [blocks, size]`` into ``uint8 [blocks, bits, ceil(size / 8)]``."""
    return jnp.packbits((codes[:, None, :] >> _shifts(bits)) & 1, axis=-1)


def _from_planes(planes: jax.Array, size: int) -> jax.Array:
    """Invert :func:`_to_planes`."""
    ones = jnp.unpackbits(planes, axis=-1, count=size)
    return jnp.sum(ones << _shifts(planes.shape[1]), axis=1, dtype=jnp.uint8)


def _shifts(bits: int) -> jax.Array:
    """Return the place of each plane's bit, ``[1, bits, 1]``."""
    return jnp.arange(bits, dtype=jnp.uint8)[None, :, None]
