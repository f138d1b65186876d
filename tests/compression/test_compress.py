"""Compress: what the others would see, without any others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness


def test_is_the_round_trip_of_every_leaf():
    updates = {"a": jnp.arange(6.0), "b": -jnp.ones((2, 3))}
    tx = jd.compress(jd.compression.top_k(0.5))
    seen, _ = tx.update(updates, tx.init(updates))
    for name, leaf in updates.items():
        expected, _ = harness.roundtrip(jd.compression.top_k(0.5), leaf)
        np.testing.assert_array_equal(seen[name], expected)


def test_randomness_is_fresh_at_every_step_and_leaf():
    updates = {"a": jnp.ones(64), "b": jnp.ones(64)}
    tx = jd.compress(jd.compression.random_k(0.25), key=3)
    state = tx.init(updates)
    first, state = tx.update(updates, state)
    second, state = tx.update(updates, state)
    draws = [first["a"], first["b"], second["a"], second["b"]]
    for i in range(4):
        for j in range(i):
            assert bool(jnp.any(draws[i] != draws[j]))


def test_feedback_lets_sgd_reach_the_minimum_that_top_k_alone_misses():
    """Without memory the small coordinates of a biased gradient never move."""
    scales = jnp.array([1.0, 0.01])

    def distance(compressor):
        tx = optax.chain(optax.sgd(0.5), jd.compress(compressor))

        def step(carry, _):
            x, state = carry
            gradient = scales * x + jnp.array([1.0, 0.0])
            noise = jnp.array([jnp.where(state[1].count % 2 == 0, 0.5, -0.5), 0.0])
            updates, state = tx.update(gradient + noise, state, x)
            return (x + updates, state), None

        start = jnp.ones(2)
        (x, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=2000)
        return float(jnp.abs(x[1]))

    assert distance(jd.compression.top_k(0.5)) > 0.5
    assert distance(jd.compression.error_feedback(jd.compression.top_k(0.5))) < 0.05


def test_compressor_is_checked():
    with pytest.raises(TypeError, match="`compressor` must be a compressor"):
        jd.compress("top_k")
