"""Packing: what comes out is what went in, in as few bytes as announced."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _packing

pack_bits = jax.jit(_packing.pack_bits, static_argnums=1)
unpack_bits = jax.jit(_packing.unpack_bits, static_argnums=(1, 2))
pack_trits = jax.jit(_packing.pack_trits)
unpack_trits = jax.jit(_packing.unpack_trits, static_argnums=1)
SIZES = pytest.mark.parametrize("size", [1, 5, 8, 29, 64])


def random_codes(values, size):
    return np.random.default_rng(values).integers(0, values, (3, size), np.uint8)


@SIZES
@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_come_back(bits, size):
    codes = random_codes(2**bits, size) if bits < 8 else random_codes(255, size) + 1
    packed = pack_bits(codes, bits)
    parts = [part for part in (1, 2, 4, 8) if bits & part]
    nbytes = sum(math.ceil(size * part / 8) for part in parts)
    assert (packed.shape, packed.dtype) == ((3, nbytes), jnp.uint8)
    np.testing.assert_array_equal(unpack_bits(packed, bits, size), codes)


@SIZES
def test_five_trits_take_a_byte(size):
    codes = random_codes(3, size)
    packed = pack_trits(codes)
    assert (packed.shape, packed.dtype) == ((3, math.ceil(size / 5)), jnp.uint8)
    np.testing.assert_array_equal(unpack_trits(packed, size), codes)


def test_a_row_is_packed_alone():
    codes = random_codes(8, 29)
    whole = pack_bits(codes, 3)
    rows = [pack_bits(codes[i : i + 1], 3) for i in range(3)]
    np.testing.assert_array_equal(whole, np.concatenate(rows))
