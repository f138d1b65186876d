"""EDEN: the centroids, the proven bounds, and what is not unbiased."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _eden
from tests import harness, statistics

BITS = pytest.mark.parametrize("bits", [1, 2, 3, 4])
NORMAL = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497}  # Max, 1960, Table I


def density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def lost(compressor, vector, num_draws=2000):
    """Return the mean share of the squared norm that is lost."""
    leaf = jnp.asarray(vector, jnp.float32)
    seen = statistics.draws(compressor, leaf, num_draws)
    return ((seen - vector) ** 2).sum(axis=1).mean() / (vector**2).sum()


@BITS
def test_centroids_are_the_means_of_their_cells(bits):
    """Lloyd's fixed point, to all digits given."""
    centroids = np.asarray(_eden.CENTROIDS[bits])
    edges = [0.0, *(centroids[1:] + centroids[:-1]) / 2, 40.0]
    for low, high, centroid in zip(edges[:-1], edges[1:], centroids, strict=True):
        mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
        assert centroid == pytest.approx(
            (density(low) - density(high)) / mass, abs=1e-8
        )


@BITS
def test_error_on_what_rotates_to_a_normal(bits):
    vector = np.random.default_rng(0).standard_t(3, 2**14)
    assert lost(jd.compression.eden(bits, 4096), vector, 3) == pytest.approx(
        NORMAL[bits], rel=0.03
    )


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_polynomials_dominate_the_error(bits):
    a, b, c = _eden.DOMINATING[bits]
    centroids = np.asarray(_eden.CENTROIDS[bits])
    t = np.linspace(0, 12, 1_000_001)
    error = np.min((t[None] - centroids[:, None]) ** 2, axis=0)
    assert (error <= a + b * t**2 + c * t**6).all()
    assert c * 12**4 > 1  # beyond, t^6 alone dominates t^2


@BITS
@pytest.mark.parametrize(
    "vector",
    [
        np.eye(1, 16)[0],
        np.array([1.0, 1.0]),
        np.array([3.0, 1.0]),
        np.r_[1.0, 1.0, np.zeros(30)],
        np.r_[2.0, 1.0, 1.0, np.zeros(61)],
        np.ones(64),
    ],
    ids=["one", "two", "two unequal", "two of 32", "three of 64", "flat"],
)
def test_the_bound_holds_where_the_rotation_is_far_from_normal(bits, vector):
    compressor = jd.compression.eden(bits, 64)
    assert lost(compressor, vector) <= compressor.contract.variance(64) + 0.02


def test_one_bit_attains_its_bound_on_two_equal_elements():
    assert lost(jd.compression.eden(1), np.array([1.0, 1.0])) == pytest.approx(
        0.5, abs=1e-6
    )


@BITS
def test_inner_products_are_kept(bits):
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal(64), jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.eden(bits, 64, "inner_product"), leaf, 0)
    np.testing.assert_allclose(jnp.vdot(seen, leaf), jnp.vdot(leaf, leaf), rtol=1e-5)


def test_the_scale_of_the_inner_product_is_nearly_unbiased_for_many_elements():
    vector = np.random.default_rng(0).standard_normal(1024)
    leaf = jnp.asarray(vector, jnp.float32)
    seen = statistics.draws(jd.compression.eden(1, 1024, "inner_product"), leaf, 2000)
    bias = ((seen.mean(axis=0) - vector) ** 2).sum() / (vector**2).sum()
    assert bias < 2 * (np.pi / 2 - 1) / 2000


def test_no_scale_is_unbiased_for_two_elements():
    """Every draw loses the smaller one, so that no average finds it."""
    compressor = jd.compression.eden(1, scale="inner_product")
    seen = statistics.draws(compressor, jnp.array([3.0, 1.0]), 100)
    np.testing.assert_allclose(seen[:, 0], 10 / 3, rtol=1e-5)
    np.testing.assert_allclose(seen[:, 1], 0, atol=1e-5)
    assert not compressor.contract.unbiased
    with pytest.raises(ValueError, match="is no contraction"):
        jd.compression.error_feedback(compressor)


@pytest.mark.parametrize(
    ("size", "length"), [(1, 1), (100, 128), (1024, 1024), (1100, 256), (10_000, 1024)]
)
def test_blocks_are_as_long_as_padding_allows(size, length):
    assert _eden._chunk_length(size, 1, 1024) == length
    chunks = -(-size // length)
    nbytes = jd.payload_nbytes(jd.compression.eden(1), jnp.zeros(size))
    assert nbytes == chunks * 4 + -(-chunks * length // 8)


@pytest.mark.parametrize("scale", [1e37, 1e-34])
def test_the_ends_of_the_range_survive(scale):
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal(512) * scale)
    seen, _ = jax.jit(lambda x: harness.roundtrip(jd.compression.eden(4), x, 0))(leaf)
    error = np.asarray(seen, np.float64) / scale - np.asarray(leaf, np.float64) / scale
    assert (error**2).mean() < 0.02


def test_one_nan_spoils_only_its_block():
    leaf = jnp.ones(192).at[70].set(jnp.nan)
    seen, _ = harness.roundtrip(jd.compression.eden(2, 64), leaf, 0)
    expected = [True] * 64 + [False] * 64 + [True] * 64
    np.testing.assert_array_equal(jnp.isfinite(seen), expected)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"`bits` must be in \[1, 4\], got 5"):
        jd.compression.eden(5)
    with pytest.raises(
        ValueError, match="`block_size` must be a power of two, got 100"
    ):
        jd.compression.eden(4, 100)
    with pytest.raises(ValueError, match="`scale` must be one of 'least_squares'"):
        jd.compression.eden(4, scale="unbiased")
