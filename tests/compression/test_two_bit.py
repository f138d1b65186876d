"""Two bit: the means of four bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

VECTOR = np.random.default_rng(0).standard_normal(64)
TWO_BIT = jd.compression.two_bit()


def by_hand(vector, width):
    """Return the mean of each element's bin in float64; vector has no zeros."""
    mean, deviation = vector.mean(), vector.std()
    edges = [mean - width * deviation, mean, mean + width * deviation]
    bins = np.searchsorted(edges, vector, side="right")
    return np.array([vector[bins == own].mean() for own in bins])


def relative_error(compressor, leaf):
    seen, _ = harness.roundtrip(compressor, leaf)
    return float(jnp.sum((seen - leaf) ** 2) / jnp.sum(leaf**2))


@pytest.mark.parametrize("width", [0.5, 1.0, 1.5])
@pytest.mark.parametrize(
    "vector", [VECTOR, VECTOR + 1, np.abs(VECTOR), -np.abs(VECTOR) - 1, VECTOR**3]
)
def test_agrees_with_numpy(vector, width):
    compressor = jd.compression.two_bit(bin_width=width)
    seen, _ = harness.roundtrip(compressor, jnp.asarray(vector, jnp.float32))
    np.testing.assert_allclose(seen, by_hand(vector, width), rtol=2**-8)
    assert len(np.unique(seen)) <= 4


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_never_worse_than_the_two_sides_of_the_mean(shift):
    vector = VECTOR + shift
    upper = vector >= vector.mean()
    sides = np.where(upper, vector[upper].mean(), vector[~upper].mean())
    wanted = ((sides - vector) ** 2).sum() / (vector**2).sum()
    found = relative_error(TWO_BIT, jnp.asarray(vector, jnp.float32))
    assert found < wanted + 2**-16


@pytest.mark.parametrize("size", [1, 2, 3, 4, 17, 64])
def test_the_bound_holds_where_it_is_closest(size):
    """Two huge elements of opposite sign, tails, and one element beside zeros."""
    few = np.full(size, 1e-3)
    few[0], few[-1] = -1.0, 1.0
    spread = np.geomspace(1, 1e6, size) * (-1) ** np.arange(size)
    single = np.zeros(size)
    single[size // 2] = -0.3
    for vector in (few, spread, single, np.ones(size) / 3):
        found = relative_error(TWO_BIT, jnp.asarray(vector, jnp.float32))
        assert found <= TWO_BIT.contract.variance(size) + 1e-7


def test_zeros_have_a_bin_of_their_own():
    """Without one, a zero would arrive as the mean of its bin."""
    leaf = jnp.array([0.0, -2, -2, 4, 4, 0, 0, 0])
    seen, _ = harness.roundtrip(TWO_BIT, leaf)
    np.testing.assert_array_equal(seen, leaf)
    same = jnp.array([0.0, -3, -3, -3])
    np.testing.assert_array_equal(harness.roundtrip(TWO_BIT, same)[0], same)


@pytest.mark.parametrize("blocks", [1, 3])
def test_padding_is_no_zero(blocks):
    """Four levels fit four values, also in a chunk that is padded."""
    leaf = jnp.array([1.0, -2, 3, -6, 1, -2, 3, -6, 1, -2])
    compressor = jd.compression.two_bit(4, bin_width=0.6)
    seen, _ = harness.roundtrip(compressor, leaf, blocks=blocks)
    np.testing.assert_allclose(seen, leaf)


@pytest.mark.parametrize("scale", [3.4028e38, 1e-36])
def test_the_ends_of_the_range_survive(scale):
    leaf = jnp.asarray([scale, -scale / 2] * 500, jnp.float32)
    seen, _ = harness.roundtrip(TWO_BIT, leaf)
    assert np.isfinite(seen).all()
    np.testing.assert_allclose(seen, leaf, rtol=2**-8)


def test_a_level_does_not_overflow_a_narrower_leaf():
    leaf = jnp.full(8, 65504.0, jnp.float16)  # in bfloat16 this is 65536
    seen, _ = harness.roundtrip(TWO_BIT, leaf)
    np.testing.assert_array_equal(seen, leaf)


def test_one_infinity_spoils_only_its_block():
    leaf = jnp.ones(8).at[1].set(jnp.inf)
    seen, _ = harness.roundtrip(jd.compression.two_bit(4), leaf)
    np.testing.assert_array_equal(jnp.isfinite(seen), [False] * 4 + [True] * 4)


SPARSE_LOCO = jd.compression.quantized(
    jd.compression.top_k(64 / 4096, 4096), jd.compression.two_bit(64)
)


def test_values_of_top_k_in_bins():
    """Of each chunk the levels fit its own 64 values, and no others."""
    scales = np.repeat([1.0, 100.0], 4096)
    leaf = jnp.asarray(
        np.random.default_rng(1).standard_normal(8192) * scales, jnp.float32
    )
    exact, _ = harness.roundtrip(jd.compression.top_k(64 / 4096, 4096), leaf)
    seen, _ = harness.roundtrip(SPARSE_LOCO, leaf)
    np.testing.assert_array_equal(seen != 0, exact != 0)
    for chunk in (slice(0, 4096), slice(4096, None)):
        error = jnp.sum((seen[chunk] - exact[chunk]) ** 2)
        assert error < 0.02 * jnp.sum(exact[chunk] ** 2)
        assert len(np.unique(seen[chunk])) <= 5


def test_bytes_of_sparse_loco():
    """96 bytes of indices, 16 of bins and 8 of means for 4096 weights."""
    leaf = jax.ShapeDtypeStruct((1024, 4096), jnp.float32)
    nbytes = jd.payload_nbytes(SPARSE_LOCO, leaf)
    assert nbytes == 1024 * (96 + 16 + 8)
    assert nbytes <= 0.03 * 1024 * 4096
    assert SPARSE_LOCO.contract.contraction(leaf.size) > 0
