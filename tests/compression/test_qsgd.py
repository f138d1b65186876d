"""QSGD: the variance of the paper, packed to the bit."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _qsgd
from tests import statistics

VECTOR = np.random.default_rng(0).standard_normal(64)
NORMS = {"l2": np.linalg.norm, "max": lambda vector: np.abs(vector).max()}


def exact_variance(vector, levels, norm="l2"):
    """Return omega of rounding at random, from the fractional parts."""
    unit = NORMS[norm](vector) / levels
    fraction = np.abs(vector) / unit % 1
    return unit**2 * (fraction * (1 - fraction)).sum() / (vector**2).sum()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("bits", "levels"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_variance_of_the_reference_vector(bits, levels, norm):
    leaf = jnp.asarray(VECTOR, jnp.float32)
    quantizer = jd.qsgd(bits, None, norm)
    seen = statistics.draws(quantizer, leaf, 20_000)
    measured = ((seen - VECTOR) ** 2).sum(axis=1).mean() / (VECTOR**2).sum()
    exact = exact_variance(VECTOR, levels, norm)
    assert measured == pytest.approx(exact, rel=0.02)
    assert exact <= quantizer.contract.variance(64)


@pytest.mark.parametrize(("levels", "omega"), [(1, 5.5289), (4, 0.6751), (16, 0.0420)])
def test_reference_numbers(levels, omega):
    """Also for numbers of levels that no whole number of bits has."""
    assert exact_variance(VECTOR, levels) == pytest.approx(omega, abs=1e-4)
    assert omega <= _qsgd._l2_variance(64, levels)


@pytest.mark.parametrize("levels", [1, 3, 127])
@pytest.mark.parametrize("size", [2, 17, 512, 100_000])
def test_bounds_are_the_least_that_hold(size, levels):
    """The leaf of the proof attains them."""
    if size >= 4 * levels**2:
        worst = exact_variance(np.ones(size), levels)
        assert worst == pytest.approx(_qsgd._l2_variance(size, levels))
    bound = _qsgd.max_variance(size, levels)
    others = 1 / (2 * (1 + bound))
    worst = exact_variance(np.r_[levels, np.full(size - 1, others)], levels, "max")
    assert worst == pytest.approx(bound)
    assert _qsgd._l2_variance(size, levels) <= min(
        size / levels**2, math.sqrt(size) / levels
    )


@pytest.mark.parametrize("bits", range(2, 9))
def test_bits_are_packed(bits):
    assert jd.payload_nbytes(jd.qsgd(bits, None), jnp.zeros(800)) == 100 * bits + 4


def test_levels_are_never_exceeded():
    leaf = jnp.zeros(16).at[3].set(-5.0)  # a level of exactly s
    seen = statistics.draws(jd.qsgd(4), leaf, 200)
    np.testing.assert_allclose(seen, np.broadcast_to(leaf, (200, 16)), rtol=1e-6)


def test_the_largest_element_is_exact_with_the_max_norm():
    leaf = jnp.array([0.3, -2.0, 0.7])
    seen = statistics.draws(jd.qsgd(2, norm="max"), leaf, 200)
    np.testing.assert_array_equal(seen[:, 1], -2)
    assert set(np.unique(seen)) == {-2.0, 0.0, 2.0}


@pytest.mark.parametrize("bits", [1, 9, 2.5])
def test_bits_have_a_range(bits):
    with pytest.raises(ValueError, match=r"`bits` must be in \[2, 8\], got"):
        jd.qsgd(bits)


def test_norms_are_named():
    with pytest.raises(ValueError, match="`norm` must be one of 'l2', 'max', got 'l1'"):
        jd.qsgd(norm="l1")


@pytest.mark.parametrize(
    ("quantizer", "aligned"),
    [
        (jd.qsgd(8), True),
        (jd.qsgd(8, None), False),
        (jd.qsgd(4), False),
        (jd.qsgd(4, 64), True),
        (jd.qsgd(2, norm="max"), False),
        (jd.qsgd(3, norm="max"), True),
    ],
)
def test_is_aligned_where_most_elements_survive(quantizer, aligned):
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal(2**18), jnp.float32)
    seen, _ = jd.roundtrip(quantizer, leaf, 0)
    assert quantizer.contract.aligned == aligned == bool(jnp.mean(seen != 0) > 0.5)
