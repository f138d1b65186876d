"""A run goes on with more, fewer or simulated workers, with nothing lost."""

import jax
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

FEEDBACK = jd.compression.error_feedback(jd.compression.top_k(0.2))
OPTIMIZERS = {
    "feedback": optax.chain(
        jd.aggregate(harness.AXIS, compressor=FEEDBACK), optax.sgd(0.1, 0.9)
    ),
    "sharded": jd.shard_optimizer(
        harness.AXIS, optax.trace(0.9), jd.rules.centered_clipping(1.0), FEEDBACK
    ),
    "no memory": optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1)),
}


def mesh_of(number):
    return jax.make_mesh((number,), (harness.AXIS,), devices=jax.devices()[:number])


@pytest.mark.parametrize("tx", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_from_four_devices_to_eight_to_two_simulated(tx):
    init, step = jd.data_parallel(problem.loss, tx, mesh_of(4), harness.AXIS)
    state, _ = step(init(problem.PARAMS), problem.BATCH)
    params = jax.device_get(state.params)
    for workers in (mesh_of(8), 2):
        state = jd.resize_training(state, tx, workers, harness.AXIS)
        harness.assert_trees_equal(jax.device_get(state.params), params)
        recipe = jd.simulate if isinstance(workers, int) else jd.data_parallel
        init, step = recipe(problem.loss, tx, workers, harness.AXIS)
        fresh = init(problem.PARAMS)
        like = jax.tree.map(lambda x: (x.shape, x.dtype), fresh.opt_state)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state.opt_state) == like
        if not isinstance(workers, int):
            for leaf, wanted in zip(
                *map(jax.tree.leaves, (state.opt_state, fresh.opt_state)), strict=True
            ):
                assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)
        state, metrics = step(state, problem.BATCH)
        assert np.isfinite(metrics["loss"])
        params = jax.device_get(state.params)


def test_what_workers_owe_is_kept():
    tx = OPTIMIZERS["feedback"]
    init, step = jd.simulate(problem.loss, tx, 4, harness.AXIS)
    state, _ = step(init(problem.PARAMS), problem.BATCH)
    resized = jd.resize_training(state, tx, mesh_of(8), harness.AXIS)

    def owed(state):
        residuals = state.opt_state[0].uplink.inner_state
        return jax.tree.map(lambda leaf: np.mean(leaf, axis=0), residuals)

    harness.assert_trees_close(owed(resized), owed(state))


def test_own_parameters_start_from_their_mean():
    tx = jd.per_worker(harness.AXIS, optax.sgd(0.1, 0.9))
    options = dict(per_worker_params=True)
    init, step = jd.simulate(problem.loss, tx, 4, harness.AXIS, **options)
    state, _ = step(init(problem.PARAMS), problem.BATCH)
    mean = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), state.params)
    state = jd.resize_training(state, tx, mesh_of(8), harness.AXIS, **options)
    for name, leaf in state.params.items():
        np.testing.assert_allclose(leaf, np.broadcast_to(mean[name], leaf.shape))
    _, step = jd.data_parallel(problem.loss, tx, mesh_of(8), harness.AXIS, **options)
    step(state, problem.BATCH)


def test_bad_arguments():
    tx = OPTIMIZERS["no memory"]
    state = jd.TrainState(problem.PARAMS, tx.init(problem.PARAMS))
    with pytest.raises(ValueError, match="`axis_name` must be one name"):
        jd.resize_training(state, tx, 2, ("pod", "host"))
    with pytest.raises(ValueError, match="`workers` must be an integer >= 1"):
        jd.resize_training(state, tx, 0, harness.AXIS)
    with pytest.raises(ValueError, match="one of the axes of the mesh"):
        jd.resize_training(state, tx, mesh_of(2), "rows")


def test_local_rounds_go_on_with_fewer_workers():
    outer = optax.chain(
        jd.aggregate(
            harness.AXIS,
            compressor=jd.compression.error_feedback(jd.compression.scaled_sign()),
        ),
        optax.sgd(0.7, momentum=0.9),
    )
    inner = optax.sgd(0.1, momentum=0.9)
    batches = jax.tree.map(lambda x: np.stack([x, x]), problem.BATCH)
    init, step = jd.simulate(problem.loss, inner, 8, harness.AXIS, outer=outer)
    state, _ = step(init(problem.PARAMS), batches)
    state = jd.resize_training(state, inner, 4, harness.AXIS, outer=outer)
    assert jax.tree.leaves(state.opt_state.inner)[0].shape[0] == 4
    _, step = jd.simulate(problem.loss, inner, 4, harness.AXIS, outer=outer)
    state, metrics = step(state, batches)
    assert np.isfinite(metrics["loss"])


STREAMS = {
    "two fragments": {"fragments": jd.fragments.strided(2), "overlap": 1},
    "one fragment": {"keep_local": 0.5},
}


@pytest.mark.parametrize("options", STREAMS.values(), ids=list(STREAMS))
def test_rounds_that_stream_go_on_from_the_anchor(options):
    axis_name, inner = harness.AXIS, optax.sgd(0.1, momentum=0.9)
    signs = jd.compression.error_feedback(jd.compression.scaled_sign())
    outer = optax.chain(
        jd.aggregate(axis_name, compressor=signs), optax.sgd(0.7, momentum=0.9)
    )
    stream = {"outer": outer, **options}
    batches = jax.tree.map(lambda x: np.stack([x] * 4), problem.BATCH)
    init, step = jd.simulate(problem.loss, inner, 8, axis_name, **stream)
    state, _ = step(init(problem.PARAMS), batches)
    anchor = jax.tree.map(np.asarray, state.params)
    for workers in (4, mesh_of(2), 3):
        state = jd.resize_training(
            *(state, inner, workers, axis_name),
            outer=outer,
            fragments=options.get("fragments"),
        )
        harness.assert_trees_equal(jax.tree.map(np.asarray, state.params), anchor)
        number = workers if isinstance(workers, int) else 2
        recipe = jd.simulate if isinstance(workers, int) else jd.data_parallel
        init, step = recipe(problem.loss, inner, workers, axis_name, **stream)
        fresh = init(problem.PARAMS)
        like = jax.tree.map(lambda x: (x.shape, x.dtype), fresh)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == like
        for name, leaf in state.opt_state.own.inner_state.items():
            wanted = np.broadcast_to(anchor[name], (number, *anchor[name].shape))
            np.testing.assert_array_equal(leaf, wanted)
        some = jax.tree.map(lambda x: x[:, :60], batches)
        state, metrics = step(state, some)
        assert np.isfinite(metrics["loss"])
        anchor = jax.tree.map(np.asarray, state.params)


def test_fragments_that_are_not_those_of_the_state():
    outer = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(1.0))
    two = jd.fragments.strided(2)
    arguments = optax.sgd(0.1), 2, harness.AXIS
    init, _ = jd.simulate(problem.loss, *arguments, outer=outer, fragments=two)
    streamed = init(problem.PARAMS)
    one = jd.fragments.strided(1)
    with pytest.raises(ValueError, match="`fragments` must be as many.*2, got 1"):
        jd.resize_training(streamed, *arguments, outer=outer, fragments=one)
    with pytest.raises(ValueError, match="are none without `outer`"):
        jd.resize_training(streamed, *arguments)
    init, _ = jd.simulate(problem.loss, *arguments, outer=outer)
    with pytest.raises(TypeError, match="must be the StreamState"):
        jd.resize_training(init(problem.PARAMS), *arguments, outer=outer, fragments=two)
