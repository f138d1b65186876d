"""ATOMO on singular values: unbiased, with the variance of its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression.numerics import _matrix, _spectral
from tests import harness, statistics

RNG = np.random.default_rng(0)
MATRIX = jnp.asarray(RNG.standard_normal((20, 12)) / np.arange(1, 13), jnp.float32)


def best_variance(values, budget):
    """Return sum sigma^2 (1/p - 1) of the probabilities of ATOMO's Algorithm 1."""
    values = np.sort(np.asarray(values, np.float64))[::-1]
    left, total = budget, 0.0
    for i, value in enumerate(values):
        rest = values[i:].sum()
        if value * left <= rest:
            return total + (values[i:] * rest / left - values[i:] ** 2).sum()
        left -= 1
    return total


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_variance_is_the_least(rank):
    compressor = jd.compression.atomo(rank * 32 / 240 + 1e-6, basis="svd")
    assert jd.payload_nbytes(compressor, MATRIX) == rank * 32 * 4
    seen = statistics.draws(compressor, MATRIX, 4000)
    errors = ((seen - np.asarray(MATRIX, np.float64).ravel()) ** 2).sum(axis=1)
    values = np.linalg.svd(np.asarray(MATRIX), compute_uv=False)
    assert errors.mean() == pytest.approx(best_variance(values, rank), rel=0.03)


def test_a_matrix_of_low_rank_arrives_whole():
    matrix = jnp.asarray(np.outer(np.arange(1, 30), np.ones(20)) * 1e20, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.atomo(0.2, basis="svd"), matrix, 0)
    np.testing.assert_allclose(seen, matrix, atol=1e-5 * 29e20)


@pytest.mark.parametrize("shape", [(), (7,), (2, 2)])
def test_leaves_that_would_not_shrink_travel_as_they_are(shape):
    leaf = jax.random.normal(jax.random.key(0), shape)
    seen, _ = harness.roundtrip(jd.compression.atomo(0.5, basis="svd"), leaf, 0)
    np.testing.assert_array_equal(seen, leaf)


def test_the_bound_is_that_of_the_worst_shape():
    """144 = 12 x 12 sends one triple of 12 at a density of 0.2."""
    bound = jd.compression.atomo(0.2, basis="svd").contract.variance(144)
    assert bound == pytest.approx(11, rel=1e-3)
    assert _spectral._payload_rank(_matrix.stack_of((12, 12), None), 0.2) == 1


def test_unknown_bases_are_refused():
    with pytest.raises(ValueError, match="`basis` must be one of 'entry', 'dct'"):
        jd.compression.atomo(0.1, basis="wavelet")
