"""ATOMO: the least variance for its number of elements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics

REFERENCE = jnp.asarray([4.0, 3, 2, 1, -1])


@pytest.mark.parametrize(
    ("kept", "variance"), [(1, 90), (2, 29.5), (3, 9.5), (4, 2), (5, 0)]
)
def test_variance_of_the_reference_vector(kept, variance):
    seen = statistics.draws(jd.compression.atomo(kept / 5), REFERENCE, 20_000)
    errors = ((seen - np.asarray(REFERENCE, np.float64)) ** 2).sum(axis=1)
    assert errors.mean() == pytest.approx(variance, rel=0.03, abs=1e-6)


def test_number_of_elements_is_the_budget_or_one_less():
    leaf = jnp.asarray(np.random.default_rng(0).standard_t(2, 400), jnp.float32)
    seen = statistics.draws(jd.compression.atomo(0.1), leaf, 500)
    assert set((seen != 0).sum(axis=1)) <= {39, 40}


def test_few_elements_are_all_kept():
    leaf = jnp.zeros(100).at[jnp.array([3, 40, 77])].set(jnp.array([1e-20, 5.0, -2.0]))
    seen, _ = harness.roundtrip(jd.compression.atomo(0.03), leaf, 0)
    np.testing.assert_array_equal(seen, leaf)


def test_variance_beats_uniform_sampling():
    leaf = jnp.asarray(np.random.default_rng(0).standard_t(2, 400), jnp.float32)

    def error(compressor):
        seen = statistics.draws(compressor, leaf, 2000)
        return ((seen - np.asarray(leaf, np.float64)) ** 2).sum(axis=1).mean()

    assert error(jd.compression.atomo(0.1)) < 0.35 * error(jd.compression.random_k(0.1))


@pytest.mark.parametrize("size", [1, 2, 3, 100, 4096, 100_000])
def test_variance_is_that_of_equal_magnitudes(size):
    bound = jd.compression.atomo(0.1).contract.variance(size)
    length = int(np.ceil(size / np.ceil(size / 4096)))
    kept = int(np.ceil(round(0.1 * length, 6)))
    assert bound == pytest.approx(length / kept - 1, rel=2e-3)
    assert bound >= length / kept - 1


@pytest.mark.parametrize("block_size", [0, 2**16 + 1])
def test_block_size_has_a_range(block_size):
    with pytest.raises(ValueError, match=r"`block_size` must be in \[1, 65536\], got"):
        jd.compression.atomo(0.1, block_size)


@pytest.mark.parametrize("density", [0, 1.5])
def test_density_has_a_range(density):
    with pytest.raises(ValueError, match=r"`density` must lie in \(0.0, 1.0\], got"):
        jd.compression.atomo(density)


def test_singular_triples_of_stacked_layers():
    """Of matrices of rank 1 the only triple is drawn, of each of them."""
    rng = np.random.default_rng(0)
    rows, columns = rng.standard_normal((2, 8, 12))
    layers = jnp.asarray(np.einsum("bi,bj->bij", rows, columns), jnp.float32)
    axes = jd.compression.MatrixAxes(batch=0)
    compressor = jd.compression.atomo(0.1, basis="svd", axes=axes)
    assert jd.payload_nbytes(compressor, layers) == 8 * (12 + 12) * 4
    moved = jnp.moveaxis(layers, 0, 1)
    sides = jd.compression.MatrixAxes(rows=0, columns=2)
    other = jd.compression.atomo(0.1, basis="svd", axes=sides)
    for chosen, leaf in ((compressor, layers), (other, moved)):
        seen, _ = jax.jit(
            lambda x, c=chosen: harness.roundtrip(c, x, jax.random.key(0))
        )(leaf)
        np.testing.assert_allclose(seen, leaf, atol=1e-4)
    spoilt, _ = harness.roundtrip(compressor, layers.at[2, 0, 0].set(jnp.inf), 0)
    assert not np.isfinite(spoilt[2]).any() and np.isfinite(spoilt[3:]).all()
    with pytest.raises(ValueError, match="`axes` must be None for the basis 'dct'"):
        jd.compression.atomo(0.1, basis="dct", axes=axes)
