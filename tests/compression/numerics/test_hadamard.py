"""Random rotations: orthogonal, spreading, undone by the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _hadamard

KEY = jax.random.key(0)
rotate_blocks = jax.jit(_hadamard.rotate_blocks)
rotate_back = jax.jit(_hadamard.rotate_back)
LENGTHS = pytest.mark.parametrize("length", [1, 2, 8, 64, 512])


def chunks_of(length):
    rng = np.random.default_rng(length)
    return rng.standard_normal((2, 3, length)).astype(np.float32)


@LENGTHS
def test_there_and_back(length):
    chunks = chunks_of(length)
    rotated = rotate_blocks(chunks, KEY)
    norms = [np.linalg.norm(x, axis=-1) for x in (rotated, chunks)]
    np.testing.assert_allclose(*norms, rtol=1e-5)
    np.testing.assert_allclose(rotate_back(rotated, KEY), chunks, atol=1e-5)


@LENGTHS
def test_one_element_is_spread_evenly(length):
    chunks = np.zeros((1, 1, length), np.float32)
    chunks[..., length // 3] = 1
    rotated = rotate_blocks(chunks, KEY)
    np.testing.assert_allclose(np.abs(rotated), length**-0.5, rtol=1e-6)


@LENGTHS
def test_matrices_are_those_of_sylvester(length):
    expected = np.ones((1, 1))
    while len(expected) < length:
        expected = np.block([[expected, expected], [expected, -expected]])
    np.testing.assert_array_equal(_hadamard._hadamard_matrix(length), expected)


def test_signs_are_fair_and_differ_between_chunks_and_keys():
    ones = jnp.ones((1, 4, 1024))
    keys = jax.random.split(KEY, 100)
    signs = np.asarray(
        jax.jit(jax.vmap(lambda key: _hadamard._with_signs(ones, key)))(keys)
    )
    signs = signs.reshape(400, 1024)
    assert set(np.unique(signs)) == {-1, 1}
    correlation = signs @ signs.T / 1024 - np.eye(400)
    assert np.abs(correlation).max() < 7 / np.sqrt(1024)
    assert np.abs(signs.mean(axis=0)).max() < 6 / np.sqrt(400)


def test_blocks_share_the_signs():
    chunks = jnp.broadcast_to(jax.random.normal(KEY, (1, 3, 16)), (2, 3, 16))
    rotated = rotate_blocks(chunks, KEY)
    np.testing.assert_array_equal(rotated[0], rotated[1])
