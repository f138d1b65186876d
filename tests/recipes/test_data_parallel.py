"""From a loss and an optimizer to many devices, in the words of the user."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxdist as jd
from tests import harness
from tests.recipes import problem

pytestmark = pytest.mark.usefixtures("standard_promotion")
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
AGGREGATE = jd.aggregate(harness.AXIS, jd.rules.trimmed_mean(2), SIGN)
TX = optax.chain(
    jd.per_worker(harness.AXIS, optax.ema(0.9)),
    jd.inject_attack(harness.AXIS, jd.attacks.sign_flip(), 2),
    jd.per_worker(harness.AXIS, jd.delay_updates([0.5, 0.5])),
    AGGREGATE,
    optax.adam(1e-2),
)
LEADER = optax.chain(
    jd.per_worker(harness.AXIS, optax.adam(1e-2)),
    jd.pull_to_leader(harness.AXIS, 0.1, period=2),
)


def train(init, step, steps=5):
    state = init(problem.PARAMS)
    for _ in range(steps):
        state, metrics = step(state, problem.BATCH)
    return state, metrics


@pytest.mark.parametrize("tx", [TX, LEADER], ids=["robust", "leader"])
def test_meshes_and_simulation_give_the_same(tx):
    own = tx is LEADER
    results = [
        train(
            *jd.data_parallel(
                problem.loss_with_metrics,
                tx,
                harness.make_mesh(axis_type),
                harness.AXIS,
                has_aux=True,
                per_worker_params=own,
            )
        )
        for axis_type in (AxisType.Auto, AxisType.Explicit)
    ]
    results.append(
        train(
            *jd.simulate(
                problem.loss_with_metrics,
                tx,
                8,
                harness.AXIS,
                has_aux=True,
                per_worker_params=own,
            )
        )
    )
    for other in results[1:]:
        harness.assert_trees_close(other, results[0], rtol=1e-4, atol=1e-5)
    assert set(results[0][1]) == {"loss", "mae"}
    shape = results[0][0].params["w"].shape
    assert shape == ((8, 10, 16) if own else (10, 16))


def test_dense_mean_is_single_device_training():
    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1, 0.9))
    mesh = harness.make_mesh()
    state, metrics = train(*jd.data_parallel(problem.loss, tx, mesh, harness.AXIS))
    plain = optax.sgd(0.1, 0.9)
    params, opt_state = problem.PARAMS, plain.init(problem.PARAMS)
    for _ in range(5):
        value, gradient = jax.value_and_grad(problem.loss)(params, problem.BATCH)
        updates, opt_state = plain.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
    harness.assert_trees_close(state.params, params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)


@pytest.mark.parametrize(
    "aggregate",
    [
        jd.aggregate(harness.AXIS, jd.rules.median()),
        jd.aggregate(harness.AXIS, jd.rules.krum(0), route="scatter"),
    ],
    ids=["median", "krum"],
)
def test_parameters_may_be_sharded_over_another_axis(aggregate):
    """As if they were not; compressors are in tests/aggregation/test_on_shards.py."""
    mesh = jax.make_mesh(
        (4, 2), (harness.AXIS, "model"), axis_types=(AxisType.Auto,) * 2
    )
    specs = {"w": PartitionSpec(None, "model"), "v": PartitionSpec("model", None)}
    sharded = jax.tree.map(lambda s: NamedSharding(mesh, s), specs)
    tx = optax.chain(aggregate, optax.sgd(0.1))
    init, step = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    state = init(jax.device_put(problem.PARAMS, sharded))
    simulated, simulated_step = jd.simulate(problem.loss, tx, 4, harness.AXIS)
    expected = simulated(problem.PARAMS)
    for _ in range(3):
        state, _ = step(state, problem.BATCH)
        expected, _ = simulated_step(expected, problem.BATCH)
    assert state.params["w"].sharding.spec == specs["w"]
    harness.assert_trees_close(state.params, expected.params)


def test_parameters_of_the_user_survive_donation():
    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
    mesh = harness.make_mesh()
    init, step = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    placed = jax.device_put(problem.PARAMS, NamedSharding(mesh, PartitionSpec()))
    state = init(placed)
    for _ in range(2):
        state, _ = step(state, problem.BATCH)
    assert np.isfinite(placed["w"]).all()


def test_state_is_donated():
    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
    mesh = harness.make_mesh()
    init, step = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    state = init(problem.PARAMS)
    step(state, problem.BATCH)
    assert state.params["w"].is_deleted()


def test_batches_may_be_on_the_mesh_already():
    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
    mesh = harness.make_mesh()
    init, step = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    sharding = NamedSharding(mesh, PartitionSpec(harness.AXIS))
    by_numpy = step(init(problem.PARAMS), problem.BATCH)
    by_arrays = step(init(problem.PARAMS), jax.device_put(problem.BATCH, sharding))
    harness.assert_trees_close(by_arrays, by_numpy)
    on_one = jax.tree.map(jnp.asarray, problem.BATCH)
    harness.assert_trees_close(step(init(problem.PARAMS), on_one), by_numpy)


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (optax.sgd(0.1), "gives every worker other updates.*jaxdist.aggregate"),
        (
            optax.chain(optax.trace(0.9), jd.aggregate(harness.AXIS)),
            "keeps state that differs between workers.*trace.*jaxdist.per_worker",
        ),
        (optax.apply_if_finite(TX, 3), "apply_if_finite cannot enclose"),
    ],
)
def test_optimizers_that_do_not_fit_say_why(tx, message):
    mesh = harness.make_mesh()
    init, step = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    with pytest.raises(ValueError, match=message):
        step(init(problem.PARAMS), problem.BATCH)


def test_batch_must_be_divided_by_the_workers():
    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
    init, step = jd.data_parallel(problem.loss, tx, harness.make_mesh(), harness.AXIS)
    state = init(problem.PARAMS)
    with pytest.raises(ValueError, match=r"8 workers divide.*'1' has shape \(60, 1\)"):
        step(state, (problem.INPUTS, problem.TARGETS[:60]))


def test_mesh_must_have_the_axis():
    with pytest.raises(ValueError, match="one of the axes"):
        jd.data_parallel(problem.loss, TX, harness.make_mesh(), "rows")
