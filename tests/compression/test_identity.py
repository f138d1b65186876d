"""Identity sends every bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def test_every_bit_comes_back():
    leaf = jnp.array([0.0, -0.0, jnp.nan, jnp.inf, 1e-45, 3.0])
    seen, state = harness.roundtrip(jd.compression.identity(), leaf)
    np.testing.assert_array_equal(
        np.asarray(seen).view(np.uint32), np.asarray(leaf).view(np.uint32)
    )
    assert state == ()


def test_keeps_the_memory_of_what_follows():
    low_rank = jd.compression.power_sgd(2)
    dense = jd.compression.identity(memory_of=low_rank)
    leaf = jax.random.normal(jax.random.key(0), (12, 9))
    seen, state = harness.roundtrip(dense, leaf)
    np.testing.assert_array_equal(seen, leaf)
    jax.tree.map(np.testing.assert_array_equal, state, low_rank.init(leaf))
    with pytest.raises(TypeError, match="`memory_of` must be a compressor"):
        jd.compression.identity(memory_of=2)


def test_steps_before_power_sgd_are_dense():
    """As torch's hook does with start_powerSGD_iter=2."""
    feedback, low_rank = jd.compression.error_feedback, jd.compression.power_sgd(1)
    compressor = jd.compression.by_step(
        {
            0: feedback(jd.compression.identity(memory_of=low_rank)),
            2: feedback(low_rank),
        }
    )
    tx = jd.aggregate("data", compressor=compressor)
    gradient = jax.random.normal(jax.random.key(0), (3, 4, 12, 9))

    def worker(gradients):
        def step(state, gradient):
            out, state = tx.update(gradient, state)
            return state, out

        return jax.lax.scan(step, tx.init(gradients[0]), gradients)[1]

    out = jax.jit(jax.vmap(worker, in_axes=1, axis_name="data"))(gradient)[0]
    mean = gradient.mean(axis=1)
    np.testing.assert_allclose(out[:2], mean[:2], rtol=1e-5, atol=1e-6)
    assert np.linalg.matrix_rank(np.asarray(out[2]), tol=1e-4) == 1
