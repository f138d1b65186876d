"""Encode and decode 10M float32, against a copy of the same leaf in memory."""

import jax
import jax.numpy as jnp
import pytest

import jaxdist as jd

SIZE = 10_000_000
GROUP = "encode + decode of 10M float32"
COMPRESSORS = [
    jd.compression.identity(),
    jd.compression.cast(jnp.bfloat16),
    jd.compression.scaled_sign(),
    jd.compression.error_feedback(jd.compression.scaled_sign()),
    jd.compression.top_k(0.01, block_size=4096),
    jd.compression.top_k(0.01),
    jd.compression.error_feedback(jd.compression.top_k(0.01, block_size=4096)),
    jd.compression.random_k(0.01),
    jd.compression.qsgd(bits=8),
    jd.compression.qsgd(bits=4),
    jd.compression.blockwise_int(bits=8),
    jd.compression.terngrad(),
    jd.compression.natural(),
    jd.compression.drive(),
    jd.compression.eden(bits=4),
    jd.compression.quantized(
        jd.compression.top_k(0.01, block_size=4096), jd.compression.qsgd(bits=8)
    ),
]


@pytest.fixture(scope="module")
def leaf():
    return jax.random.normal(jax.random.key(0), (SIZE,))


def test_copy(measure, leaf):
    measure(jax.jit(jnp.copy), leaf, group=GROUP, reference=True)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=lambda c: c.name)
def test_compressor(measure, leaf, compressor):
    # Two programs, as the network makes them: in one, XLA would not write the payload.
    @jax.jit
    def encode(leaf, state, key):
        return compressor.encode(leaf, state, jd.Keys(key, key), 1)

    @jax.jit
    def decode(payload, key):
        like = jax.ShapeDtypeStruct((SIZE,), jnp.float32)
        return compressor.decode(payload, like, jd.Keys(key, key))

    def roundtrip(leaf, state, key):
        payload, state = encode(leaf, state, key)
        return decode(payload, key), state

    measure(
        roundtrip,
        leaf,
        compressor.init(leaf),
        jax.random.key(0),
        group=GROUP,
        rounds=10,
        payload_nbytes=jd.payload_nbytes(compressor, leaf),
    )
