"""QSGD: the variance of the paper, packed to the bit."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _qsgd
from tests import statistics

VECTOR = np.random.default_rng(0).standard_normal(64)


def exact_variance(vector, levels):
    """Return the variance of rounding at random, from the fractional parts."""
    scaled = levels * np.abs(vector) / np.linalg.norm(vector)
    fraction = scaled - np.floor(scaled)
    return (fraction * (1 - fraction)).sum() / levels**2


@pytest.mark.parametrize(("bits", "levels"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_variance_of_the_reference_vector(bits, levels):
    leaf = jnp.asarray(VECTOR, jnp.float32)
    seen = statistics.draws(jd.qsgd(bits, None), leaf, 20_000)
    measured = ((seen - VECTOR) ** 2).sum(axis=1).mean() / (VECTOR**2).sum()
    exact = exact_variance(VECTOR, levels)
    assert measured == pytest.approx(exact, rel=0.02)
    assert exact <= jd.qsgd(bits, None).contract.variance(64)
    if levels == 1:
        assert exact == pytest.approx(5.5289, abs=1e-4)


@pytest.mark.parametrize("bits", range(2, 9))
def test_bits_are_packed(bits):
    assert jd.payload_nbytes(jd.qsgd(bits, None), jnp.zeros(800)) == 100 * bits + 4
    codes = np.random.default_rng(bits).integers(0, 2**bits, (3, 29), dtype=np.uint8)
    planes = _qsgd._to_planes(jnp.asarray(codes), bits)
    assert planes.shape == (3, bits, 4)
    np.testing.assert_array_equal(_qsgd._from_planes(planes, 29), codes)


def test_levels_are_never_exceeded():
    leaf = jnp.zeros(16).at[3].set(-5.0)  # a level of exactly s
    seen = statistics.draws(jd.qsgd(4), leaf, 200)
    np.testing.assert_allclose(seen, np.broadcast_to(leaf, (200, 16)), rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 9, 2.5])
def test_bits_have_a_range(bits):
    with pytest.raises(ValueError, match=r"`bits` must be in \[2, 8\], got"):
        jd.qsgd(bits)
