"""Round trip and payload size are what users measure compressors with."""

import jax
import jax.numpy as jnp
import pytest

import jaxdist as jd


def test_a_stochastic_compressor_needs_a_key():
    with pytest.raises(ValueError, match="`key` must be given: random_k"):
        jd.roundtrip(jd.compression.random_k(0.5), jnp.ones(4))


def test_state_goes_in_and_comes_out():
    compressor = jd.compression.error_feedback(jd.compression.top_k(0.5))
    _, state = jd.roundtrip(compressor, jnp.array([2.0, 1.0]))
    sent, _ = jd.roundtrip(compressor, jnp.array([0.0, 0.0]), state=state)
    assert sent.tolist() == [0.0, 1.0]


def test_payload_nbytes_needs_shapes_only():
    leaf = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
    assert jd.payload_nbytes(jd.compression.top_k(0.01), leaf) == 10_000 * 8
    # In eight blocks an index needs no more than 17 bits, so still four bytes.
    assert jd.payload_nbytes(jd.compression.top_k(0.01), leaf, blocks=8) == 8 * 1250 * 8


def test_bad_arguments():
    with pytest.raises(TypeError, match="`compressor` must be a compressor"):
        jd.roundtrip(None, jnp.ones(3))
    with pytest.raises(ValueError, match="`blocks` must be an integer >= 1, got 0"):
        jd.roundtrip(jd.compression.identity(), jnp.ones(3), blocks=0)
