"""Two bit: which of four bins around the mean an element is in, and the bins' means.

Nothing fits four bins better than their means, and the bins refine the two sides of the
mean. So the error is orthogonal to what arrives, whatever the widths of the bins, and
the rounding of the means to bfloat16 adds to its square no more than its own square.
"""

import math

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _packing, _scaling

_BITS, _BINS = 2, 4
_LEVEL = jnp.bfloat16
_ROUNDING = 2.0**-8  # of a level, relative


def two_bit(
    block_size: int | None = None, bin_width: float = 1.5
) -> _compressor.Compressor:
    r"""Send in which of four bins each element is, four per byte, and the bins' means.

    .. math:: C(x)_i = \mathrm{mean}\{x_j : b_j = b_i\}, \qquad
       b_i = [x_i \ge \mu - w\sigma] + [x_i \ge \mu] + [x_i \ge \mu + w\sigma]

    The mean :math:`\mu` and the standard deviation :math:`\sigma` are those of the
    elements that are not zero. In a block with zeros these take a bin of their own, and
    the two lowest bins are one.

    Args:
      block_size: Most elements that share the four means; None is the whole leaf (or,
        on the scatter route, the leaf's part for one worker).
      bin_width: :math:`w > 0`, standard deviations: the width of the two inner bins.
        The default spans six with four bins.

    Returns:
      A biased compressor without state, a contraction with
      :math:`\delta = \min(1, 2/d)` in each block, but for :math:`2^{-16}` of it. Such a
      bound is due to single huge elements; normal elements have
      :math:`\delta \approx 0.84`. Zeros stay zeros. NaN or infinity in a block makes
      the whole block non-finite.

    Raises:
      ValueError: If ``block_size`` is below 1, or ``bin_width`` not positive.

    Communication:
      Payload of :math:`\lceil d/4 \rceil` bytes and four bfloat16 per block.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.two_bit(bin_width=0.5),
      ...     jnp.array([-4.0, -6.0, -1.0, 1.0, 5.0, 5.0]),
      ... )
      >>> print(sent)
      [-5. -5. -1.  1.  5.  5.]

    References:
      Sarfi et al., `Communication Efficient LLM Pre-training with SparseLoCo
      <https://arxiv.org/abs/2508.15706>`_, 2025, whose program has bins around
      multiples of :math:`w\sigma` instead, of which two equal elements of opposite sign
      fall into one.
    """
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)
    bin_width = _checks.real("bin_width", bin_width, 0.0, above=True, static=True)

    def encode(leaf, state, keys, blocks):
        del keys
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        chunks = _tree.to_chunks(rows, block_size)
        counts = _scaling.elements_in_chunks(leaf.size, chunks.shape)
        # Shares of the largest, so that huge elements do not overflow their sum.
        largest = _scaling.max_norms(chunks)
        shares = _scaling.shares_of(chunks, largest)
        codes = _bin_codes(shares, jnp.asarray(counts), bin_width)
        levels = _narrow_levels(_bin_means(shares, codes) * largest[..., None])
        codes = _tree.from_chunks(codes, rows.shape[1])
        return (_packing.pack_bits(codes, _BITS), levels), state

    def decode(payload, like, keys):
        del keys
        packed, levels = payload
        size = _tree.block_size(math.prod(like.shape), packed.shape[0])
        codes = _packing.unpack_bits(packed, _BITS, size)
        rows = _level_of_codes(_tree.to_chunks(codes, block_size), levels)
        # A level may have been rounded up to beyond what a narrower leaf can hold.
        limit = min(float(jnp.finfo(d).max) for d in (like.dtype, rows.dtype))
        rows = jnp.clip(_tree.from_chunks(rows, size), -limit, limit)
        return _tree.from_blocks(rows, like)

    def variance(size):
        length = _tree.chunk_shape(size, block_size)[1]
        return 1.0 - min(1.0, 2.0 / max(length, 1)) * (1.0 - _ROUNDING**2)

    shown = [] if block_size is None else [f"{block_size}"]
    shown += [] if bin_width == 1.5 else [f"bin_width={bin_width}"]
    name = f"two_bit({', '.join(shown)})"
    contract = _compressor.Contract(variance=variance, aligned=True, keeps_zeros=True)
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _bin_codes(shares: jax.Array, counts: jax.Array, bin_width: float) -> jax.Array:
    """Return the bin of each element, uint8.

    Args:
      shares: ``[..., length]``, padded with zeros.
      counts: How many elements of each chunk are no padding, ``[...]``.
      bin_width: In standard deviations.
    """
    here = shares != 0
    number = jnp.sum(here.astype(jnp.float32), axis=-1)
    several = jnp.maximum(number, 1)[..., None]
    mean = jnp.sum(shares, axis=-1, keepdims=True) / several
    moved = jnp.where(here, shares - mean, 0.0)
    deviation = jnp.sqrt(jnp.sum(moved**2, axis=-1, keepdims=True) / several)
    edge = bin_width * deviation
    above = [moved >= -edge, moved >= 0, moved >= edge]
    codes = sum(is_above.astype(jnp.uint8) for is_above in above)
    lowest = jnp.where(number < counts, 1, 0).astype(jnp.uint8)  # bin 0 is for zeros
    return jnp.where(here, jnp.maximum(codes, lowest[..., None]), jnp.uint8(0))


def _bin_means(shares: jax.Array, codes: jax.Array) -> jax.Array:
    """Return the mean of what is not zero in each bin, ``[..., 4]``; 0 if empty."""
    here = shares != 0
    means = []
    for code in range(_BINS):
        inside = here & (codes == code)
        number = jnp.sum(inside.astype(jnp.float32), axis=-1)
        total = jnp.sum(jnp.where(inside, shares, 0.0), axis=-1)
        means.append(total / jnp.maximum(number, 1))
    return jnp.stack(means, axis=-1)


def _narrow_levels(levels: jax.Array) -> jax.Array:
    """Return the levels in bfloat16, whose largest number is below that of float32."""
    limit = float(jnp.finfo(_LEVEL).max)
    return jnp.clip(levels, -limit, limit).astype(_LEVEL)


def _level_of_codes(codes: jax.Array, levels: jax.Array) -> jax.Array:
    """Return the level of each code ``[..., length]``, float32."""
    wide = levels.astype(jnp.float32)[..., None, :]
    is_odd, is_upper = (codes & 1) > 0, (codes & 2) > 0
    lower, upper = (
        jnp.where(is_odd, wide[..., first + 1], wide[..., first]) for first in (0, 2)
    )
    return jnp.where(is_upper, upper, lower)
