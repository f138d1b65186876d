"""What breaks compressed training elsewhere, once for each way to compress.

Each of these makes a well-known library fail: a gradient that is always zero, one NaN
on one worker, a restart, a restart with other workers, awkward leaves, bfloat16.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest

import jaxdist as jd
from tests import harness

AXIS, NUM_WORKERS = "data", 4
feedback = jd.compression.error_feedback
WAYS = {
    "sign, both ways": (
        feedback(jd.compression.scaled_sign()),
        feedback(jd.compression.scaled_sign()),
    ),
    "top-k": (feedback(jd.compression.top_k(0.1)), None),
    "top-k, both ways": (
        feedback(jd.compression.top_k(0.1)),
        feedback(jd.compression.top_k(0.1)),
    ),
    "int8 blocks": (
        feedback(jd.compression.blockwise_int(8)),
        feedback(jd.compression.blockwise_int(8)),
    ),
    "drive": (feedback(jd.compression.drive()), None),
    "qsgd": (jd.compression.qsgd(8), None),
    "power_sgd": (feedback(jd.compression.power_sgd(1)), None),
    "ef21": (
        jd.compression.ef21(jd.compression.top_k(0.1)),
        jd.compression.ef21(jd.compression.top_k(0.2)),
    ),
    "momentum correction": (
        jd.compression.momentum_correction(jd.compression.top_k(0.1)),
        None,
    ),
}
# The tests of a way share its compiled step: one process runs them.
EACH = pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=pytest.mark.xdist_group(f"way {way}")) for way in WAYS],
)
SHAPES = {"conv": (3, 3, 2, 5), "prime": (13, 7), "scalar": (), "vector": (11,)}


def make_tx(way):
    up, down = WAYS[way]
    return jd.aggregate(AXIS, compressor=up, downlink=down)


def params_of(dtype=jnp.float32):
    """Return parameters; narrow ones have a leaf without elements too."""
    empty = {} if dtype == jnp.float32 else {"empty": (0, 3)}
    return {name: jnp.zeros(shape, dtype) for name, shape in (SHAPES | empty).items()}


def on_axes(function, state, specs):
    """Apply a function to what has an axis of workers."""
    return jax.tree.map(
        lambda x, axis: x if axis is None else function(x), state, specs
    )


@functools.lru_cache(maxsize=16)
def start_and_step(way, num_workers, dtype):
    """Return a state of W workers ``[W, ...]``, and a compiled step."""
    tx, params = make_tx(way), params_of(dtype)
    specs = jax.tree.map(
        lambda spec: 0 if spec else None, jd.state_specs(tx, params, AXIS)
    )
    mesh = jax.make_mesh((num_workers,), (AXIS,))
    state = jax.device_get(jd.init(tx, params, mesh, AXIS))

    def worker(gradient, state):
        state = on_axes(lambda x: x[None], state, specs)
        update, state = tx.update(gradient, state)
        return update, on_axes(lambda x: x[0], state, specs)

    return state, jax.jit(jax.vmap(worker, (0, specs), (None, specs), axis_name=AXIS))


class Simulation:
    """One aggregation after another: states of W workers are ``[W, ...]``."""

    def __init__(self, way, num_workers=NUM_WORKERS, dtype=jnp.float32):
        """Make the state."""
        self.params = params_of(dtype)
        self.state, self.step = start_and_step(way, num_workers, dtype)

    def __call__(self, gradients):
        """Return the update of one step."""
        update, self.state = self.step(gradients, self.state)
        return update


def gradients_like(params, seed, num_workers=NUM_WORKERS):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return treedef.unflatten(
        jax.random.normal(key, (num_workers, *leaf.shape), leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    )


def assert_finite(tree):
    """Check the numbers; typed keys have none that chex could read."""
    chex.assert_tree_all_finite(jax.tree.map(harness.plain, tree))


@EACH
def test_zero_gradients_stay_zero(way):
    run = Simulation(way)
    for _ in range(3):
        update = run(jax.tree.map(jnp.zeros_like, gradients_like(run.params, 0)))
        chex.assert_trees_all_equal(update, run.params)
    assert_finite(run.state)


@EACH
def test_a_frozen_parameter_does_not_spoil_the_others(way):
    run = Simulation(way)
    for seed in range(3):
        gradients = gradients_like(run.params, seed)
        gradients["prime"] = jnp.zeros_like(gradients["prime"])
        update = run(gradients)
        assert not np.any(update["prime"]) and np.any(update["conv"])
        assert_finite(update)


@EACH
def test_one_nan_on_one_worker_is_over_when_it_is_over(way):
    run = Simulation(way)
    run(gradients_like(run.params, 0))
    bad = gradients_like(run.params, 1)
    bad["conv"] = bad["conv"].at[2, 0, 0, 0, 0].set(jnp.nan)
    run(bad)
    if way != "power_sgd":  # which draws a new start
        assert_finite(run.state)
    for seed in (2, 3):
        update = run(gradients_like(run.params, seed))
        assert_finite(update)
        assert np.any(update["conv"])


@EACH
def test_a_restored_run_continues_bit_by_bit(way, tmp_path):
    run = Simulation(way)
    run(gradients_like(run.params, 0))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", run.state)
        checkpointer.wait_until_finished()
        again = checkpointer.restore(tmp_path / "state", run.state)
    one = run(gradients_like(run.params, 1))
    run.state = again
    other = run(gradients_like(run.params, 1))
    harness.assert_trees_equal(one, other)


@EACH
def test_a_restored_run_continues_with_other_workers(way):
    run, larger = Simulation(way), Simulation(way, num_workers=6)
    run(gradients_like(run.params, 0))
    larger.state = jd.resize_residuals(run.state, NUM_WORKERS, 6, run.params)
    update = larger(gradients_like(run.params, 1, 6))
    assert_finite(update)
    assert np.any(update["conv"])


@EACH
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_gradients_of_awkward_shapes_come_back_as_they_were(way, dtype):
    run = Simulation(way, dtype=dtype)
    for seed in range(2):
        update = run(gradients_like(run.params, seed))
    chex.assert_trees_all_equal_shapes_and_dtypes(update, run.params)
    assert_finite(update)


@EACH
def test_it_trains(way):
    """Least squares: all reach a tenth of the loss, with the same step size."""
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((256, 30)), jnp.float32)
    wanted = inputs @ jnp.asarray(rng.standard_normal((30, 10)), jnp.float32)

    def loss(weights, batch):
        return jnp.mean((batch[0] @ weights - batch[1]) ** 2)

    tx = optax.chain(make_tx(way), optax.sgd(0.05 if "corr" in way else 0.5))
    init, step = jd.simulate(loss, tx, num_workers=NUM_WORKERS, axis_name=AXIS)
    state = init(jnp.zeros((30, 10)))
    losses = []
    for _ in range(150):
        state, metrics = step(state, (inputs, wanted))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] / 10
