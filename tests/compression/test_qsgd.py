"""QSGD: the variance of the paper, packed to the bit."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics

VECTOR = np.random.default_rng(0).standard_normal(64)


@pytest.mark.parametrize("norm", statistics.NORMS)
@pytest.mark.parametrize(("bits", "levels"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_variance_of_the_reference_vector(bits, levels, norm):
    leaf = jnp.asarray(VECTOR, jnp.float32)
    quantizer = jd.compression.qsgd(bits, None, norm)
    seen = statistics.draws(quantizer, leaf, 20_000)
    measured = ((seen - VECTOR) ** 2).sum(axis=1).mean() / (VECTOR**2).sum()
    exact = statistics.exact_variance(VECTOR, levels, norm)
    assert measured == pytest.approx(exact, rel=0.02)
    assert exact <= quantizer.contract.variance(64)


@pytest.mark.parametrize("bits", range(2, 9))
def test_bits_are_packed(bits):
    assert (
        jd.payload_nbytes(jd.compression.qsgd(bits, None), jnp.zeros(800))
        == 100 * bits + 4
    )


def test_levels_are_never_exceeded():
    leaf = jnp.zeros(16).at[3].set(-5.0)  # a level of exactly s
    seen = statistics.draws(jd.compression.qsgd(4), leaf, 200)
    np.testing.assert_allclose(seen, np.broadcast_to(leaf, (200, 16)), rtol=1e-6)


def test_the_largest_element_is_exact_with_the_max_norm():
    leaf = jnp.array([0.3, -2.0, 0.7])
    seen = statistics.draws(jd.compression.qsgd(2, norm="max"), leaf, 200)
    np.testing.assert_array_equal(seen[:, 1], -2)
    assert set(np.unique(seen)) == {-2.0, 0.0, 2.0}


@pytest.mark.parametrize("bits", [1, 9, 2.5])
def test_bits_have_a_range(bits):
    with pytest.raises(ValueError, match=r"`bits` must be in \[2, 8\], got"):
        jd.compression.qsgd(bits)


def test_norms_are_named():
    with pytest.raises(ValueError, match="`norm` must be one of 'l2', 'max', got 'l1'"):
        jd.compression.qsgd(norm="l1")


@pytest.mark.parametrize(
    ("quantizer", "aligned"),
    [
        (jd.compression.qsgd(8), True),
        (jd.compression.qsgd(8, None), False),
        (jd.compression.qsgd(4), False),
        (jd.compression.qsgd(4, 64), True),
        (jd.compression.qsgd(2, norm="max"), False),
        (jd.compression.qsgd(3, norm="max"), True),
    ],
)
def test_is_aligned_where_most_elements_survive(quantizer, aligned):
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal(2**18), jnp.float32)
    seen, _ = harness.roundtrip(quantizer, leaf, 0)
    assert quantizer.contract.aligned == aligned == bool(jnp.mean(seen != 0) > 0.5)
