"""The fingerprint sees every bit, and where it stands."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

FLOATS = np.random.default_rng(0).standard_normal(37).astype(np.float32)


def fingerprint(*leaves):
    return tuple(np.asarray(jd.replica_fingerprint(leaves)).tolist())


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float8_e4m3fn", "int8", "uint16", "int32"]
)
def test_every_flipped_bit_is_seen(dtype):
    leaf = np.asarray(jnp.asarray(FLOATS * 20).astype(dtype))
    width = leaf.dtype.itemsize
    bits = leaf.view(np.uint8)
    seen = {fingerprint(leaf)}
    flips = list(itertools.product(range(0, bits.size, 5 * width), range(8)))
    for place, bit in flips:
        flipped = bits.copy()
        flipped[place] ^= 1 << bit
        seen.add(fingerprint(flipped.view(leaf.dtype)))
    assert len(seen) == len(flips) + 1


def test_bits_count_and_not_numbers():
    nan = np.array([np.nan, 1.0], np.float32)
    other_nan = nan.copy().view(np.uint32)
    other_nan[0] ^= 1
    assert fingerprint(nan) == fingerprint(nan.copy())
    assert fingerprint(nan) != fingerprint(other_nan.view(np.float32))
    assert fingerprint(np.float32(0.0)) != fingerprint(np.float32(-0.0))


def test_order_counts():
    swapped = FLOATS.copy()
    swapped[[3, 8]] = swapped[[8, 3]]
    assert fingerprint(FLOATS) != fingerprint(swapped)
    assert fingerprint(FLOATS, swapped) != fingerprint(swapped, FLOATS)
    assert fingerprint(FLOATS) != fingerprint(np.append(FLOATS, np.float32(0)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (jax.random.key(1), jax.random.key(2)),
        (jnp.array([1 + 2j]), jnp.array([1 - 2j])),
        (jnp.array([1 + 2j]), jnp.array([2 + 1j])),
        (jnp.array([True, False]), jnp.array([False, True])),
        (jnp.array([1, 2], jnp.int4), jnp.array([1, 3], jnp.int4)),
        (jnp.zeros((0, 3)), jnp.zeros((1, 3))),
    ],
    ids=["key", "imaginary", "real", "bool", "int4", "empty"],
)
def test_other_dtypes(one, other):
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)
