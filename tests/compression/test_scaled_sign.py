"""Scaled sign: one bit each, and the mean magnitude of each block."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def test_contraction_of_the_reference_vector():
    """The squared error is exactly 1 - l1^2 / (d l2^2), 0.666 kept here."""
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal(64), jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.scaled_sign(), leaf)
    kept = 1 - float(jnp.sum((seen - leaf) ** 2) / jnp.sum(leaf**2))
    exact = np.abs(leaf).sum() ** 2 / (64 * (np.asarray(leaf) ** 2).sum())
    assert kept == pytest.approx(float(exact), rel=1e-5)
    assert kept == pytest.approx(0.666, abs=1e-3)


@pytest.mark.parametrize("blocks", [1, 3])
def test_padding_does_not_dilute_the_scale(blocks):
    leaf = -2 * jnp.ones(10)
    seen, _ = harness.roundtrip(
        jd.compression.scaled_sign(block_size=4), leaf, blocks=blocks
    )
    np.testing.assert_allclose(seen, leaf)


def test_each_block_has_a_scale():
    leaf = jnp.array([1.0, -1, 1, -1, 100, -100, 100, -100])
    seen, _ = harness.roundtrip(jd.compression.scaled_sign(block_size=4), leaf)
    np.testing.assert_allclose(seen, leaf)


def test_a_million_signs_take_a_bit_each():
    leaf = jnp.zeros(2**20)
    assert jd.payload_nbytes(jd.compression.scaled_sign(), leaf) == 2**17 + 4
    assert jd.payload_nbytes(jd.compression.scaled_sign(2**16), leaf) == 2**17 + 16 * 4


def test_huge_elements_do_not_overflow_the_scale():
    leaf = jnp.full(1000, 3e38)
    seen, _ = harness.roundtrip(jd.compression.scaled_sign(), leaf)
    np.testing.assert_allclose(seen, leaf, rtol=1e-4)


def test_one_nan_spoils_only_its_block():
    leaf = jnp.ones(8).at[1].set(jnp.nan)
    seen, _ = harness.roundtrip(jd.compression.scaled_sign(block_size=4), leaf)
    np.testing.assert_array_equal(jnp.isfinite(seen), [False] * 4 + [True] * 4)


def test_the_scale_l2_keeps_the_norm():
    vector = np.random.default_rng(0).standard_normal((3, 20))
    leaf = jnp.asarray(vector, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.scaled_sign(scale="l2"), leaf)
    np.testing.assert_allclose(jnp.linalg.norm(seen), np.linalg.norm(vector), 1e-5)
    np.testing.assert_array_equal(jnp.sign(seen), np.sign(vector))
    lost = float(jnp.sum((seen - leaf) ** 2)) / (vector**2).sum()
    flat = np.abs(vector).sum() / np.sqrt(60 * (vector**2).sum())
    assert lost == pytest.approx(2 * (1 - flat), rel=1e-4)


def test_the_scale_l2_loses_more_than_all_of_a_sparse_leaf():
    leaf = jnp.zeros(100).at[3].set(5.0)
    compressor = jd.compression.scaled_sign(scale="l2")
    seen, _ = harness.roundtrip(compressor, leaf)
    lost = float(jnp.sum((seen - leaf) ** 2)) / 25
    assert lost == pytest.approx(1.8) == compressor.contract.variance(100)
    with pytest.raises(ValueError, match="is no contraction"):
        jd.compression.error_feedback(compressor)


@pytest.mark.parametrize("value", [3e38, 1e-36])
def test_the_scale_l2_survives_the_ends_of_the_range(value):
    leaf = jnp.full(1000, value)
    seen, _ = harness.roundtrip(jd.compression.scaled_sign(300, scale="l2"), leaf)
    np.testing.assert_allclose(seen, leaf, rtol=1e-4)


def test_scales_are_named():
    with pytest.raises(ValueError, match="`scale` must be one of 'l1', 'l2', got 'l0'"):
        jd.compression.scaled_sign(scale="l0")
