"""Top-k keeps the largest, with the narrowest indices."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

VECTOR = np.random.default_rng(0).standard_normal(64)


def test_residual_of_the_reference_vector():
    """Ratio of squared norms measured on default_rng(0).normal(64) with k = 8."""
    leaf = jnp.asarray(VECTOR, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.top_k(8 / 64), leaf)
    error = float(jnp.sum((seen - leaf) ** 2) / jnp.sum(leaf**2))
    assert error == pytest.approx(0.5509, abs=1e-4)
    assert error <= jd.compression.top_k(8 / 64).contract.variance(64) == 7 / 8


@pytest.mark.parametrize("block_size", [None, 16, 10])
def test_equals_numpy_in_each_block(block_size):
    leaf = jnp.asarray(VECTOR, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.top_k(0.25, block_size), leaf)
    length = {None: 64, 16: 16, 10: 10}[block_size]  # 64 in 7 blocks of at most 10
    expected = np.zeros(70)
    padded = np.concatenate([VECTOR, np.zeros(6)])
    for start in range(0, 64, length):
        block = padded[start : start + length]
        largest = np.argsort(-np.abs(block))[: int(np.ceil(0.25 * length))]
        expected[start + largest] = block[largest]
    np.testing.assert_allclose(seen, expected[:64], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "index_bytes"),
    [(256, 1), (257, 1.5), (4096, 1.5), (4097, 2), (2**16, 2), (2**16 + 1, 4)],
)
def test_indices_are_as_narrow_as_they_can_be(size, index_bytes):
    kept = int(np.ceil(0.1 * size))
    nbytes = jd.payload_nbytes(jd.compression.top_k(0.1), jnp.zeros(size))
    assert nbytes == np.ceil(kept * (4 + index_bytes))


def test_demo_layout_of_10_million_parameters():
    """64 x 64 chunks with 32 kept of each: 12-bit indices and float32 values."""
    leaf = jnp.zeros((2560, 4096), jnp.float32)
    compressor = jd.compression.top_k(32 / 4096, block_size=4096)
    assert jd.payload_nbytes(compressor, leaf) == 450_560


def test_values_have_the_dtype_of_the_leaf():
    leaf = jnp.zeros(100, jnp.bfloat16)
    assert jd.payload_nbytes(jd.compression.top_k(0.1), leaf) == 10 * (2 + 1)


def test_ties_keep_the_lower_index():
    seen, _ = harness.roundtrip(
        jd.compression.top_k(0.5), jnp.array([1.0, -1.0, 1.0, 1.0])
    )
    np.testing.assert_array_equal(seen, [1, -1, 0, 0])


def test_nan_counts_as_the_largest():
    seen, _ = harness.roundtrip(
        jd.compression.top_k(0.25), jnp.array([1.0, jnp.nan, 9.0, 2.0])
    )
    np.testing.assert_array_equal(seen, [0, np.nan, 0, 0])


@pytest.mark.parametrize("density", [0, -0.1, 1.1, float("nan")])
def test_density_has_a_range(density):
    with pytest.raises(ValueError, match=r"`density` must lie in \(0.0, 1.0\], got"):
        jd.compression.top_k(density)


def test_block_size_is_a_positive_integer():
    with pytest.raises(ValueError, match="`block_size` must be an integer >= 1, got 0"):
        jd.compression.top_k(0.1, 0)
