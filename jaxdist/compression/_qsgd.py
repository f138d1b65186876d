"""QSGD: stochastic rounding to a few levels of a norm."""

import math
from typing import Literal

import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _levels, _packing, _scaling


def qsgd(
    bits: int = 8, block_size: int | None = 512, norm: Literal["l2", "max"] = "l2"
) -> _compressor.Compressor:
    r"""Round every element at random to one of :math:`2s+1` levels, unbiased.

    .. math:: C(x)_i = \frac{\|x\|}{s}\xi_i, \quad \xi_i \in
       \{\lfloor u_i \rfloor, \lfloor u_i \rfloor + 1\}, \quad
       u_i = \frac{s x_i}{\|x\|}, \quad \mathbb{E}\,\xi_i = u_i, \quad
       s = 2^{\text{bits}-1} - 1

    Args:
      bits: Bits per coordinate in [2, 8], sign included.
      block_size: Most elements that share a norm; None is the whole leaf (or, on the
        scatter route, the leaf's part for one worker), whose variance grows like
        :math:`\sqrt d / s`.
      norm: ``"l2"``, that of the paper, or ``"max"``, which is smaller and so has finer
        levels.

    Returns:
      An unbiased compressor without state. In each block of :math:`d` elements
      :math:`\omega` is at most :math:`\sqrt d/s - 1`, or :math:`d/(4s^2)` where
      :math:`d < 4s^2`, with the norm ``"l2"``, and
      :math:`(\sqrt{1 + (d-1)/s^2} - 1)/2` with ``"max"``. Workers round
      independently. It is aligned where typical elements are not rounded to zero:
      :math:`s \ge \sqrt d/2` with ``"l2"``, :math:`s > 1` with ``"max"``. NaN or
      infinity in a block makes the whole block non-finite.

    Raises:
      ValueError: If ``bits`` is outside [2, 8], ``block_size`` is below 1 or ``norm``
        is neither ``"l2"`` nor ``"max"``.

    Communication:
      Payload of :math:`\lceil \text{bits} \cdot d/8 \rceil` bytes and a float32 per
      block; 3, 5, 6 and 7 bits are packed as sums of 1, 2 and 4, each of which may
      fill up a byte.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.qsgd(bits=8),
      ...     jnp.array([3.0, -4.0]),
      ...     jax.random.key(0),
      ... )
      >>> print(jnp.abs(sent - jnp.array([3.0, -4.0])).max() < 5 / 127)
      True

    References:
      Alistarh et al., `QSGD: Communication-Efficient SGD via Gradient Quantization and
      Encoding <https://arxiv.org/abs/1610.02132>`_, 2017, Section 3.1. Fixed-width
      codes instead of Elias codes. The paper bounds the variance by
      :math:`\min(d/s^2, \sqrt d/s)`; the bounds here are the least that hold.
    """
    bits = _checks.integer("bits", bits, 2, 8)
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)
    _checks.one_of("norm", norm, ("l2", "max"))
    levels = 2 ** (bits - 1) - 1
    norm_of = _scaling.l2_norms if norm == "l2" else _scaling.max_norms

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        codes, norms = _levels.to_levels(rows, block_size, levels, norm_of, keys.own)
        return (_packing.pack_bits(codes, bits), norms), state

    def decode(payload, like, keys):
        del keys
        packed, norms = payload
        size = _tree.block_size(math.prod(like.shape), packed.shape[0])
        codes = _packing.unpack_bits(packed, bits, size)
        return _tree.from_blocks(
            _levels.from_levels(codes, norms, block_size, levels), like
        )

    bound = _levels.l2_variance if norm == "l2" else _levels.max_variance

    def variance(size):
        return bound(_tree.chunk_shape(size, block_size)[1], levels)

    contract = _compressor.Contract(
        unbiased=True,
        variance=variance,
        stochastic=True,
        aligned=_most_survive(levels, block_size, norm),
        keeps_zeros=True,
    )
    suffix = "" if norm == "l2" else f", {norm!r}"
    name = f"qsgd({bits}, {block_size}{suffix})"
    return _compressor.Compressor(lambda leaf: (), encode, decode, contract, name)


def _most_survive(levels: int, block_size: int | None, norm: str) -> bool:
    """Whether typical elements are rounded to zero less often than not.

    Otherwise most elements are zero at most workers, and so would be their median.
    """
    if norm == "max":
        return levels > 1
    return block_size is not None and levels >= math.sqrt(block_size) / 2
