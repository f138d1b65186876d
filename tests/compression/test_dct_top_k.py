"""DCT top-k: an orthonormal basis, on leaves of any shape."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

import jaxdist as jd
from jaxdist.compression.numerics import _cosine
from tests import harness

NORMAL = np.random.default_rng(0).standard_normal(64)


def test_residual_of_the_reference_vector():
    """Ratio of squared norms measured on default_rng(0).normal(64) with k = 8."""
    leaf = jnp.asarray(NORMAL, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.dct_top_k(8 / 64), leaf)
    basis = _cosine.cosine_basis(64).astype(np.float64)
    coefficients = np.sort((basis @ NORMAL) ** 2)
    error = float(jnp.sum((seen - leaf) ** 2) / jnp.sum(leaf**2))
    assert error == pytest.approx(
        coefficients[:56].sum() / coefficients.sum(), abs=1e-5
    )
    assert error <= jd.compression.dct_top_k(8 / 64).contract.variance(64) == 7 / 8


def test_a_cosine_is_one_coefficient():
    place = np.arange(64)
    leaf = jnp.asarray(np.cos(np.pi * 5 * (2 * place + 1) / 128), jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.dct_top_k(1 / 64), leaf)
    np.testing.assert_allclose(seen, leaf, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (127,), (3, 5, 7, 11), (128, 64)])
def test_everything_kept_comes_back(shape):
    leaf = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    for blocks in (1, 3):
        seen, _ = harness.roundtrip(jd.compression.dct_top_k(1.0), leaf, blocks=blocks)
        np.testing.assert_allclose(seen, leaf, atol=1e-5)


def test_transforms_share_the_room_of_their_block():
    """All 8 coefficients go to the one of four transforms that needs them."""
    leaf = jnp.asarray(np.concatenate([NORMAL, np.zeros(192)]), jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.dct_top_k(64 / 256), leaf)
    np.testing.assert_allclose(seen, leaf, atol=1e-5)


def test_squares_are_transformed_along_both_sides():
    """Two squares of 64 x 64, of which 32 coefficients each are kept, as in DeMo."""
    leaf = np.random.default_rng(2).standard_normal((128, 64)).cumsum(axis=0)
    expected = []
    for square in (leaf[:64], leaf[64:]):
        coefficients = scipy.fft.dctn(square, norm="ortho")
        least = np.sort(np.abs(coefficients), axis=None)[-32]
        coefficients[np.abs(coefficients) < least] = 0
        expected.append(scipy.fft.idctn(coefficients, norm="ortho"))
    compressor = jd.compression.dct_top_k(32 / 4096, dimensions=2)
    seen, _ = harness.roundtrip(compressor, jnp.asarray(leaf, jnp.float32))
    np.testing.assert_allclose(seen, np.concatenate(expected), atol=1e-3)


@pytest.mark.parametrize("shape", [(), (127,), (3, 5, 7, 11), (65, 129)])
def test_all_coefficients_of_squares_come_back(shape):
    leaf = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.dct_top_k(1.0, dimensions=2), leaf)
    np.testing.assert_allclose(seen, leaf, atol=1e-5)


def test_a_plane_wave_is_one_coefficient_of_a_square():
    place = np.arange(64)
    wave = np.cos(np.pi * 5 * (2 * place + 1) / 128)
    leaf = jnp.asarray(np.outer(wave, wave), jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.dct_top_k(1 / 4096, dimensions=2), leaf)
    np.testing.assert_allclose(seen, leaf, atol=1e-5)


def test_transform_size_has_a_range():
    with pytest.raises(ValueError, match="`dimensions` must be one of 1, 2, got 3"):
        jd.compression.dct_top_k(0.1, dimensions=3)
    with pytest.raises(
        ValueError, match=r"`transform_size` must be in \[1, 512\], got"
    ):
        jd.compression.dct_top_k(0.1, transform_size=1000)
