"""Each worker has a state, and a random stream, of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.workers import _arrival
from tests import harness


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_is_the_inner_transformation_on_each_worker(backend):
    updates = jax.random.normal(jax.random.key(0), (4, 8, 5))
    tx = jd.per_worker(harness.AXIS, optax.trace(0.9))
    out, state = harness.run_steps(tx, backend, jnp.zeros((8, 5)), updates)
    for worker in range(8):
        plain = optax.trace(0.9)
        inner = plain.init(updates[0, 0])
        for step in range(4):
            expected, inner = plain.update(updates[step, worker], inner)
            np.testing.assert_allclose(
                out[worker, step], expected, rtol=1e-5, atol=1e-6
            )
    assert state.inner_state.trace.shape == (8, 1, 5)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_optax_noise_is_independent(backend):
    """Plain optax noise is the same on all workers; wrapped it is not."""
    zeros = jnp.zeros((2, 8, 1000))
    for tx, shared in (
        (optax.add_noise(1.0, 0.0, key=0), True),
        (jd.per_worker(harness.AXIS, optax.add_noise(1.0, 0.0, key=0)), False),
    ):
        if shared and backend == "shard_map":
            continue  # the noise alone does not vary: nothing to compare
        with jax.numpy_dtype_promotion("standard"):
            out, _ = harness.run_steps(tx, backend, zeros[0], zeros)
        assert (np.ptp(out, axis=0).max() == 0) == shared
        if not shared:
            np.testing.assert_allclose(
                np.corrcoef(np.asarray(out).reshape(16, -1)), np.eye(16), atol=0.15
            )


def test_extra_arguments_are_forwarded():
    seen = {}

    def update(updates, state, params=None, **extra):
        seen.update(extra, params=params)
        return updates, state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tx = jd.per_worker("w", inner)
    jax.jit(
        jax.vmap(lambda u: tx.update(u, tx.init(u), u, value=1.0)[0], axis_name="w")
    )(jnp.ones((2, 3)))
    assert seen["value"] == 1.0 and seen["params"] is not None


def test_momentum_at_the_workers_makes_a_robust_chain():
    tx = optax.chain(
        jd.per_worker(harness.AXIS, optax.ema(0.9)),
        jd.inject_attack(harness.AXIS, jd.attacks.sign_flip(10.0), 2),
        jd.aggregate(harness.AXIS, jd.rules.trimmed_mean(2)),
    )
    noise = jax.random.normal(jax.random.key(0), (50, 8, 20))
    with jax.numpy_dtype_promotion("standard"):
        out, _ = harness.run_steps(tx, "shard_map", jnp.zeros((8, 20)), 1 + noise)
    np.testing.assert_allclose(out[0, -1], 1, atol=0.5)


def test_zeros_of_steps_that_only_accumulate_are_no_gradients():
    slow = optax.MultiSteps(optax.scale(1.0), 3).gradient_transformation()
    tx = jd.per_worker("data", optax.chain(optax.clip(1.0), slow))
    with pytest.raises(ValueError, match="optax.MultiSteps.*`micro_batches`"):
        tx.init(jnp.zeros(3))
    finite = optax.apply_if_finite(optax.trace(0.9), 3)
    jd.per_worker("data", finite).init(jnp.zeros(3))


def test_in_simulated_time_who_arrives_draws_and_not_its_place():
    tx = jd.per_worker("w", optax.add_noise(1.0, 0.0, key=0))

    def noise(workers, num_workers=8):
        def worker(index):
            arrival = _arrival.Arrival(index, jnp.int32(1), num_workers)
            zeros = jnp.zeros(5)
            return tx.update(zeros, tx.init(zeros), arrival=arrival)[0]

        return np.asarray(jax.jit(jax.vmap(worker, axis_name="w"))(jnp.array(workers)))

    with jax.numpy_dtype_promotion("standard"):
        everybody = noise(range(8))
        np.testing.assert_array_equal(noise([2, 5, 7]), everybody[[2, 5, 7]])
        in_step = jax.jit(
            jax.vmap(lambda g: tx.update(g, tx.init(g))[0], axis_name="w")
        )
        np.testing.assert_array_equal(in_step(jnp.zeros((8, 5))), everybody)
