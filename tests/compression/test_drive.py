"""DRIVE: one bit after a rotation, and half of every leaf."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics


@pytest.mark.parametrize("scale", ["least_squares", "inner_product"])
def test_is_eden_with_one_bit(scale):
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal((7, 30)), jnp.float32)
    for key in range(3):
        seen, _ = harness.roundtrip(
            jd.compression.drive(64, scale), leaf, key, blocks=2
        )
        same, _ = harness.roundtrip(
            jd.compression.eden(1, 64, scale), leaf, key, blocks=2
        )
        np.testing.assert_array_equal(seen, same)


def test_sparse_leaves_lose_no_more_than_dense_ones():
    """Where scaled signs lose 99 %."""
    vector = np.random.default_rng(0).standard_normal(1024)
    vector *= np.random.default_rng(1).random(1024) < 0.02
    leaf = jnp.asarray(vector, jnp.float32)
    errors = {}
    for compressor in (jd.compression.drive(), jd.compression.scaled_sign()):
        num_draws = 200 if compressor.contract.stochastic else 1
        seen = statistics.draws(compressor, leaf, num_draws)
        error = ((seen - vector) ** 2).sum(axis=1).mean()
        errors[compressor.name] = error / (vector**2).sum()
    assert errors["drive(1024)"] == pytest.approx(1 - 2 / np.pi, abs=0.03)
    assert errors["scaled_sign()"] > 0.97


def test_the_contraction_is_one_half_and_feedback_takes_it():
    assert jd.compression.drive().contract.contraction(10**6) == 0.5
    jd.compression.error_feedback(jd.compression.drive())


def test_a_bit_per_element():
    nbytes = jd.payload_nbytes(jd.compression.drive(4096), jnp.zeros(2**20))
    assert nbytes == 2**17 + 256 * 4
