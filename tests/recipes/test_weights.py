"""Weights in whole training steps: uneven batches, and workers that are not there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

pytestmark = pytest.mark.usefixtures("standard_promotion")
COUNTS = np.asarray([8, 3, 5, 0, 1, 8, 2, 0])  # examples of each of eight workers
MASK = (np.arange(8)[None] < COUNTS[:, None]).reshape(-1)
TX = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1, 0.9))


def masked_loss(params, batch):
    """Return the mean over the examples that are there: NaN where there are none."""
    (inputs, targets), mask = batch
    error = (problem.predict(params, inputs) - targets)[:, 0] ** 2
    return jnp.sum(error * mask) / jnp.sum(mask)


BATCH = (problem.BATCH, MASK.astype(np.float32))


def on_one_device(steps=3):
    """Return what a single worker with all examples comes to."""
    tx = optax.sgd(0.1, 0.9)
    params, state = problem.PARAMS, tx.init(problem.PARAMS)
    for _ in range(steps):
        loss, gradient = jax.value_and_grad(masked_loss)(params, BATCH)
        updates, state = tx.update(gradient, state)
        params = optax.apply_updates(params, updates)
    return params, loss


def train(init, step, batch=BATCH, weight=COUNTS, steps=3):
    state = init(problem.PARAMS)
    for _ in range(steps):
        state, metrics = step(state, batch, weight=weight)
    return state, metrics


def recipes(tx):
    return {
        "mesh": jd.data_parallel(masked_loss, tx, harness.make_mesh(), harness.AXIS),
        "simulated": jd.simulate(masked_loss, tx, 8, harness.AXIS),
    }


@pytest.mark.parametrize("recipe", ["mesh", "simulated"])
def test_uneven_batches_weighed_by_their_examples_are_one_batch(recipe):
    state, metrics = train(*recipes(TX)[recipe])
    params, loss = on_one_device()
    harness.assert_trees_close(state.params, params, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


def test_the_same_under_pmap():
    step = jd.local_step(masked_loss, TX, harness.AXIS)
    state = jd.TrainState(problem.PARAMS, TX.init(problem.PARAMS))
    mapped = jax.pmap(step, harness.AXIS, in_axes=(None, 0, 0), out_axes=(None, None))
    batch = jax.tree.map(lambda x: x.reshape(8, 8, *x.shape[1:]), BATCH)
    for _ in range(3):
        state, metrics = mapped(state, batch, COUNTS)
    params, loss = on_one_device()
    harness.assert_trees_close(jax.device_get(state.params), params, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


def test_pods_count_as_much_as_their_devices():
    mesh = jax.make_mesh(
        (2, 4), ("pod", "device"), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )
    tx = optax.chain(jd.aggregate("device"), jd.aggregate("pod"), optax.sgd(0.1, 0.9))
    state, metrics = train(*jd.data_parallel(masked_loss, tx, mesh, ("pod", "device")))
    params, loss = on_one_device()
    harness.assert_trees_close(state.params, params, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


def test_nobody_there_changes_no_parameter():
    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
    state, metrics = train(*recipes(tx)["simulated"], weight=np.zeros(8))
    harness.assert_trees_equal(state.params, problem.PARAMS)
    assert np.isnan(metrics["loss"])
    assert int(state.opt_state[0].rule.num_absent) == 8


@pytest.mark.parametrize("recipe", ["mesh", "simulated"])
@pytest.mark.parametrize("weight", [np.ones(7), 1.0, np.ones((8, 1))])
def test_weights_have_one_number_for_each_worker(recipe, weight):
    init, step = recipes(TX)[recipe]
    with pytest.raises(ValueError, match=r"`weight`.*shape \(8,\), got"):
        step(init(problem.PARAMS), BATCH, weight=weight)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16, jnp.float32, jnp.float64])
def test_weighted_metrics_take_strict_dtypes_with_64_bits(dtype):
    def loss(params, batch):
        return jnp.sum(params * batch), {"seen": jnp.sum(batch).astype(dtype)}

    tx = optax.chain(jd.aggregate("data"), optax.scale(-1.0))
    init, step = jd.simulate(loss, tx, 2, "data", has_aux=True)
    with jax.enable_x64(True):
        batch = jnp.arange(4.0)
        start = init(jnp.zeros(2, batch.dtype))
        _, metrics = step(start, batch, weight=jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(np.asarray(metrics["seen"], np.float32), 1.0)
