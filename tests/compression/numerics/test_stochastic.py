"""Stochastic rounding: uniform words, exact integers, symmetric probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _stochastic

to_integers = jax.jit(_stochastic.to_integers)
KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 4, 8)])
def test_words_have_the_shape_asked_for(shape):
    words = jax.eval_shape(lambda: _stochastic.shared_words(KEY, shape))
    assert (words.shape, words.dtype) == (shape, jnp.uint32)


def test_every_bit_of_every_word_is_fair():
    keys = jax.random.split(KEY, 20_000)
    words = jax.jit(jax.vmap(lambda key: _stochastic.shared_words(key, (6,))))(keys)
    bits = np.unpackbits(np.asarray(words).view(np.uint8), axis=None).reshape(-1, 192)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(20_000)


@pytest.mark.parametrize("fraction", [0.5, 0.498, 0.25, 1 / 512, 0.999])
def test_roundings_that_share_a_word_are_nearly_independent(fraction):
    """Eight elements share two words."""
    keys = jax.random.split(KEY, 50_000)
    values = jnp.full(8, fraction)
    rounded = jax.jit(jax.vmap(lambda key: _stochastic.to_integers(values, key)))(keys)
    covariance = np.cov(np.asarray(rounded).T)
    variance = fraction * (1 - fraction)
    others = covariance[~np.eye(8, dtype=bool)]
    assert np.abs(others).max() < 1 / 1024 + 6 * variance / np.sqrt(50_000)
    np.testing.assert_allclose(
        np.diag(covariance), variance, rtol=6 / np.sqrt(50_000 * variance)
    )


def test_integers_stay():
    values = jnp.arange(-127.0, 128.0)
    np.testing.assert_array_equal(to_integers(values, KEY), values)


def test_a_value_goes_to_its_neighbours_as_often_as_it_is_near_to_them():
    values = jnp.repeat(jnp.array([-1.25, -0.001, 0.001, 0.9, 126.5]), 100_000)
    rounded = np.asarray(to_integers(values, KEY)).reshape(5, -1)
    exact = np.asarray(values, np.float64).reshape(5, -1)[:, 0]
    fraction = exact - np.floor(exact)
    deviation = np.sqrt(fraction * (1 - fraction) / 100_000)
    assert (np.abs(rounded.mean(axis=1) - exact) < 5 * deviation).all()
    assert (np.abs(rounded - exact[:, None]) < 1).all()


def test_tiny_values_have_no_direction():
    """Probabilities are exact to 2^-24, and rounded to nearest."""
    values = jnp.array([1e-9, -1e-9] * 50_000)
    assert not to_integers(values, KEY).any()
