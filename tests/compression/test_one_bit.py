"""One bit: the best two values for the signs."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

VECTOR = np.random.default_rng(0).standard_normal(64)


def by_hand(vector):
    """Return the means of the two classes in float64."""
    negative = vector < 0
    seen = np.zeros_like(vector)
    for chosen in (negative, ~negative):
        if chosen.any():
            seen[chosen] = vector[chosen].mean()
    return seen


@pytest.mark.parametrize(
    "vector", [VECTOR, VECTOR + 1, np.abs(VECTOR), -np.abs(VECTOR) - 1]
)
def test_agrees_with_numpy(vector):
    seen, _ = harness.roundtrip(
        jd.compression.one_bit(), jnp.asarray(vector, jnp.float32)
    )
    np.testing.assert_allclose(seen, by_hand(vector), rtol=1e-5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_never_worse_than_scaled_sign(shift):
    leaf = jnp.asarray(VECTOR + shift, jnp.float32)
    errors = [
        float(jnp.sum((harness.roundtrip(compressor, leaf)[0] - leaf) ** 2))
        for compressor in (jd.compression.one_bit(), jd.compression.scaled_sign())
    ]
    assert errors[0] < errors[1]


def test_the_bound_is_attained():
    leaf = jnp.zeros(50).at[3].set(2.0)
    seen, _ = harness.roundtrip(jd.compression.one_bit(), leaf)
    lost = float(jnp.sum((seen - leaf) ** 2)) / 4
    assert lost == pytest.approx(jd.compression.one_bit().contract.variance(50))


@pytest.mark.parametrize("blocks", [1, 3])
def test_padding_does_not_dilute_the_means(blocks):
    leaf = jnp.array([1.0, -2, 1, -2, 1, -2, 1, -2, 1, -2])
    seen, _ = harness.roundtrip(
        jd.compression.one_bit(block_size=4), leaf, blocks=blocks
    )
    np.testing.assert_allclose(seen, leaf)


@pytest.mark.parametrize("scale", [3.4e38, 1e-36])
def test_the_ends_of_the_range_survive(scale):
    leaf = jnp.asarray([scale, -scale / 2] * 500, jnp.float32)
    seen, _ = harness.roundtrip(jd.compression.one_bit(), leaf)
    np.testing.assert_allclose(seen, leaf, rtol=1e-4)


def test_two_scales_per_block():
    leaf = jnp.zeros(2**20)
    assert jd.payload_nbytes(jd.compression.one_bit(), leaf) == 2**17 + 8
    assert jd.payload_nbytes(jd.compression.one_bit(2**16), leaf) == 2**17 + 16 * 8


def test_one_infinity_spoils_only_its_block():
    leaf = jnp.ones(8).at[1].set(jnp.inf)
    seen, _ = harness.roundtrip(jd.compression.one_bit(block_size=4), leaf)
    np.testing.assert_array_equal(jnp.isfinite(seen), [False] * 4 + [True] * 4)
