"""Natural compression: stochastic rounding to powers of two."""

import math

import jax.numpy as jnp
from jax import lax

from jaxdist import _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _packing, _stochastic

_MANTISSA = 23  # bits of a float32
_MAGNITUDE = 2**31 - 1  # all bits but the sign
_INFINITY = 0xFF << _MANTISSA


def natural() -> _compressor.Compressor:
    r"""Round every magnitude at random to one of the powers of two around it, unbiased.

    .. math:: C(x)_i = \mathrm{sign}(x_i)\,2^{e_i + b_i}, \quad
       e_i = \lfloor \log_2 |x_i| \rfloor, \quad P(b_i = 1) = |x_i|/2^{e_i} - 1

    Zeros and powers of two come back as they are. A value that rounds up beyond the
    dtype of the leaf becomes the largest number of that dtype. Below :math:`2^{-126}`
    the neighbours are 0 and :math:`2^{-126}`: still unbiased, without a bound for the
    variance.

    Returns:
      An unbiased compressor without state, with :math:`\omega = 1/8`: it needs no
      scale and no block, and elements of any size are equally precise. Workers round
      independently. NaN and infinity become NaN.

    Communication:
      Payload of :math:`d` bytes of exponents and :math:`\lceil d/8 \rceil` of signs.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.natural(),
      ...     jnp.array([4.0, 0.0, -0.5]),
      ...     jax.random.key(0),
      ... )
      >>> print(sent)
      [ 4.   0.  -0.5]

    References:
      Horváth et al., `Natural Compression for Distributed Deep Learning
      <https://arxiv.org/abs/1905.10988>`_, 2019, Definition 1 and Theorem 1.
    """

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        bits = lax.bitcast_convert_type(rows, jnp.uint32)
        magnitude = bits & _MAGNITUDE
        # The mantissa carries into the exponent as often as it is large.
        mantissa = _stochastic.shared_words(keys.own, rows.shape) >> (32 - _MANTISSA)
        finite = magnitude < _INFINITY
        exponents = jnp.where(finite, (magnitude + mantissa) >> _MANTISSA, 0)
        # A negative zero says that the element is not finite.
        negative = jnp.where(finite, (bits != magnitude) & (exponents > 0), True)
        signs = _packing.pack_bits(negative.astype(jnp.uint8), 1)
        return (exponents.astype(jnp.uint8), signs), state

    def decode(payload, like, keys):
        del keys
        exponents, signs = payload
        size = _tree.block_size(math.prod(like.shape), exponents.shape[0])
        negative = _packing.unpack_bits(signs, 1, size) > 0
        power = exponents.astype(jnp.uint32) << _MANTISSA
        largest = min(float(jnp.finfo(x).max) for x in (like.dtype, jnp.float32))
        values = lax.bitcast_convert_type(power, jnp.float32)
        values = jnp.where(exponents > 0, jnp.minimum(values, largest), 0.0)
        values = jnp.where(negative & (exponents == 0), jnp.nan, values)
        return _tree.from_blocks(jnp.where(negative, -values, values), like)

    contract = _compressor.Contract(
        unbiased=True,
        variance=lambda size: 1 / 8,
        stochastic=True,
        aligned=True,
        keeps_zeros=True,
    )
    return _compressor.Compressor(
        lambda leaf: (), encode, decode, contract, "natural()"
    )
