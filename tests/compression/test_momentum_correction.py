"""Momentum correction: Deep Gradient Compression's recursion, and nothing is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def test_the_recursion_of_the_paper():
    """Against NumPy, with momentum factor masking."""
    rng = np.random.default_rng(0)
    compressor = jd.compression.momentum_correction(
        jd.compression.top_k(0.25), momentum=0.9
    )
    momentum, residual = np.zeros(8), np.zeros(8)
    state = compressor.init(jnp.zeros(8))
    for _ in range(20):
        gradient = rng.standard_normal(8)
        momentum = 0.9 * momentum + gradient
        residual = residual + momentum
        kept = np.abs(residual) >= np.sort(np.abs(residual))[-2]
        expected = np.where(kept, residual, 0)
        momentum, residual = np.where(kept, 0, momentum), np.where(kept, 0, residual)
        sent, state = harness.roundtrip(
            compressor, jnp.asarray(gradient, "f4"), state=state
        )
        np.testing.assert_allclose(sent, expected, rtol=1e-5)
        np.testing.assert_allclose(state.momentum, momentum, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.residual, residual, rtol=1e-5, atol=1e-6)


def test_without_masking_all_momentum_arrives():
    """What was sent and what is kept sum to plain momentum's updates."""
    compressor = jd.compression.momentum_correction(
        jd.compression.scaled_sign(), 0.5, masking=False
    )
    gradients = jax.random.normal(jax.random.key(0), (30, 16))

    def step(carry, gradient):
        state, trace = carry
        sent, state = harness.roundtrip(compressor, gradient, state=state)
        trace = 0.5 * trace + gradient
        return (state, trace), (sent, trace)

    start = (compressor.init(gradients[0]), jnp.zeros(16))
    (state, _), (sent, traces) = jax.lax.scan(step, start, gradients)
    np.testing.assert_allclose(
        sent.sum(axis=0) + state.residual, traces.sum(axis=0), atol=1e-4
    )


def test_nan_leaves_the_memory_as_it_was():
    compressor = jd.compression.momentum_correction(jd.compression.top_k(0.5), 0.9)
    state = compressor.init(jnp.zeros(4))
    _, state = harness.roundtrip(compressor, jnp.arange(1.0, 5.0), state=state)
    gradient = jnp.ones(4).at[0].set(jnp.nan)
    _, after = harness.roundtrip(compressor, gradient, state=state)
    assert after.momentum[0] == state.momentum[0]
    assert after.residual[0] == state.residual[0]
    assert np.isfinite(after.residual).all() and np.isfinite(after.momentum).all()


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_momentum_has_a_range(momentum):
    with pytest.raises(ValueError, match="`momentum` must lie in"):
        jd.compression.momentum_correction(jd.compression.top_k(0.1), momentum)
