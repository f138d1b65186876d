"""Zeros, extremes, and what is not finite."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def broken(compressor, name, match):
    with pytest.raises(AssertionError, match=match):
        testing.check_compressor(compressor, properties=[name])


def scaled_by(norm):
    """Return a compressor that divides by a norm, and multiplies again."""

    def encode(leaf, state, keys, blocks):
        rows, _ = jd.compression.identity().encode(
            leaf.reshape(-1), state, keys, blocks
        )
        unit = norm(rows)
        return (rows / unit, unit), state

    def decode(payload, like, keys):
        rows = payload[0] * payload[1]
        return jd.compression.identity().decode(rows, like, keys)

    return jd.compression.identity()._replace(
        encode=encode, decode=decode, name="scaled"
    )


def test_zeros_over_zero_are_found():
    def norm(rows):
        return jnp.max(jnp.abs(rows), axis=1, keepdims=True)

    broken(scaled_by(norm), "zeros", r"on a zero leaf of float32\[61\] not all")


def test_zeros_that_are_kept_must_be():
    signs = defects.promising(jd.compression.scaled_sign(), "signs", keeps_zeros=True)
    broken(signs, "zeros", r"on a sparse leaf of float32\[61\] not all elements that")


def test_overflow_of_squares_is_found():
    def norm(rows):
        return jnp.sqrt(1e-30 + jnp.sum(rows**2, axis=1, keepdims=True))

    broken(scaled_by(norm), "extremes", r"on a huge leaf of float32\[61\] not all")


def test_a_nan_that_becomes_a_number_is_found():
    clean = defects.encoding(
        jd.compression.identity(), lambda x: jnp.nan_to_num(x, nan=1), "clean"
    )
    broken(clean, "not_finite", r"with nan at 20 that element arrives as \[1.\]")
    zero = defects.encoding(
        jd.compression.identity(), lambda x: jnp.where(jnp.isfinite(x), x, 0), "zero"
    )
    testing.check_compressor(zero, properties=["not_finite"])


def test_an_infinity_that_is_clipped_is_found():
    clipped = defects.encoding(
        jd.compression.identity(), lambda x: jnp.clip(x, -9, 9), "clips"
    )
    broken(clipped, "not_finite", r"with inf at 20 that element arrives as \[9.\]")


def test_a_poisoned_state_is_found():
    def encode(leaf, state, keys, blocks):
        payload, _ = jd.compression.identity().encode(leaf, (), keys, blocks)
        return payload, state + leaf

    remembers = jd.compression.identity()._replace(
        init=jnp.zeros_like, encode=encode, name="remembers"
    )
    broken(remembers, "not_finite", "the new state is not finite")
