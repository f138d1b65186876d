"""Model states: one of all workers', or each worker's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

TX = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
START = {"mean": jnp.full((10,), 5.0), "seen": jnp.int32(0)}


def _loss(params, model_state, batch):
    """Normalise as BatchNorm does, and remember the statistics."""
    inputs, targets = batch
    mean = inputs.mean(0)
    remembered = {
        "mean": 0.5 * model_state["mean"] + 0.5 * mean,
        "seen": model_state["seen"] + 1,
    }
    return problem.loss(params, (inputs - mean[None], targets)), remembered


def _recipes(**options):
    mesh = harness.make_mesh()
    options = dict(has_state=True, **options)
    yield jd.data_parallel(_loss, TX, mesh, harness.AXIS, **options)
    yield jd.simulate(_loss, TX, 8, harness.AXIS, **options)


def test_statistics_are_means_and_counters_count_steps():
    for init, step in _recipes():
        state, _ = step(init(problem.PARAMS, START), problem.BATCH)
        mean = 2.5 + 0.5 * problem.INPUTS.mean(0)
        np.testing.assert_allclose(state.model_state["mean"], mean, rtol=1e-5)
        assert state.model_state["seen"] == 1


def test_micro_batches_hand_the_state_on():
    for init, step in _recipes(micro_batches=2):
        state, _ = step(init(problem.PARAMS, START), problem.BATCH)
        halves = problem.INPUTS.reshape(8, 2, 4, 10).mean((0, 2))
        mean = 1.25 + 0.25 * halves[0] + 0.5 * halves[1]
        np.testing.assert_allclose(state.model_state["mean"], mean, rtol=1e-5)
        assert state.model_state["seen"] == 2


def test_absent_workers_say_nothing():
    parts = problem.INPUTS.reshape(8, 8, 10).copy()
    parts[0] = np.nan
    batch = parts.reshape(64, 10), problem.TARGETS
    weight = np.array([0, 3, 1, 0, 0, 0, 0, 0], np.float32)
    for init, step in _recipes():
        state, _ = step(init(problem.PARAMS, START), batch, weight)
        mean = 2.5 + 0.5 * (0.75 * parts[1].mean(0) + 0.25 * parts[2].mean(0))
        np.testing.assert_allclose(state.model_state["mean"], mean, rtol=1e-5)
        state, _ = step(state, batch, 0 * weight)
        np.testing.assert_allclose(state.model_state["mean"], mean, rtol=1e-5)
        assert state.model_state["seen"] == 1


def test_workers_with_own_parameters_have_own_statistics():
    tx = optax.sgd(0.1)
    mesh = harness.make_mesh()
    options = dict(has_state=True, per_worker_params=True)
    for init, step in (
        jd.data_parallel(_loss, tx, mesh, harness.AXIS, **options),
        jd.simulate(_loss, tx, 8, harness.AXIS, **options),
    ):
        state, _ = step(init(problem.PARAMS, START), problem.BATCH)
        means = 2.5 + 0.5 * problem.INPUTS.reshape(8, 8, 10).mean(1)
        np.testing.assert_allclose(state.model_state["mean"], means, rtol=1e-5)
        assert state.model_state["seen"].shape == (8,)


def test_keys_in_a_model_state_are_refused():
    init, _ = jd.simulate(_loss, TX, 8, harness.AXIS, has_state=True)
    with pytest.raises(ValueError, match="must not hold a key .leaf 'dropout'.*`key`"):
        init(problem.PARAMS, {"dropout": jax.random.key(0)})


def test_states_keep_their_form():
    def loss(params, model_state, batch):
        return problem.loss(params, batch), {"mean": model_state["mean"][:3]}

    init, step = jd.simulate(loss, TX, 8, harness.AXIS, has_state=True)
    with pytest.raises(ValueError, match="structure, shapes and dtypes.*leaf 'mean'"):
        step(init(problem.PARAMS, {"mean": START["mean"]}), problem.BATCH)
    with pytest.raises(ValueError, match="structure, shapes and dtypes"):
        step(init(problem.PARAMS, START), problem.BATCH)
