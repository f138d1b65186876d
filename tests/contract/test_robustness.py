"""What breaks compressed training elsewhere, once for each way to compress.

Each of these makes a well-known library fail: a gradient that is always zero, one NaN
on one worker, a restart, a restart with other workers, awkward leaves, bfloat16.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest

import jaxdist as jd

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
EACH = pytest.mark.parametrize("way", WAYS)
SHAPES = {"conv": (3, 3, 2, 5), "prime": (13, 7), "scalar": (), "vector": (11,)}


def make_tx(way):
    up, down = WAYS[way]
    return jd.aggregate(AXIS, compressor=up, downlink=down)


class Simulation:
    """One aggregation after another: states of W workers are ``[W, ...]``."""

    def __init__(self, tx, params, num_workers=NUM_WORKERS):
        """Make the state for these parameters."""
        self.specs = jax.tree.map(
            lambda spec: 0 if spec else None, jd.state_specs(tx, params, AXIS)
        )
        mesh = jax.make_mesh((num_workers,), (AXIS,))
        self.state = jax.device_get(jd.init(tx, params, mesh, AXIS))

        def worker(gradient, state):
            state = self._map(lambda x: x[None], state)
            update, state = tx.update(gradient, state)
            return update, self._map(lambda x: x[0], state)

        axes = (0, self.specs)
        self.step = jax.jit(jax.vmap(worker, axes, (None, self.specs), axis_name=AXIS))

    def _map(self, function, state):
        return jax.tree.map(
            lambda x, axis: x if axis is None else function(x), state, self.specs
        )

    def __call__(self, gradients):
        """Return the update of one step."""
        update, self.state = self.step(gradients, self.state)
        return update


def params_of(dtype=jnp.float32, **more):
    return {name: jnp.zeros(shape, dtype) for name, shape in SHAPES.items()} | more


def gradients_like(params, seed, num_workers=NUM_WORKERS):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return treedef.unflatten(
        jax.random.normal(key, (num_workers, *leaf.shape), leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    )


def is_finite(tree):
    return all(
        np.isfinite(np.asarray(leaf, np.float32)).all()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    )


@EACH
def test_zero_gradients_stay_zero(way):
    params = params_of()
    run = Simulation(make_tx(way), params)
    for _ in range(3):
        update = run(jax.tree.map(jnp.zeros_like, gradients_like(params, 0)))
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(update))
    assert is_finite(run.state)


@EACH
def test_a_frozen_parameter_does_not_spoil_the_others(way):
    params = params_of()
    run = Simulation(make_tx(way), params)
    for seed in range(3):
        gradients = gradients_like(params, seed)
        gradients["prime"] = jnp.zeros_like(gradients["prime"])
        update = run(gradients)
        assert not np.any(update["prime"]) and np.any(update["conv"])
        assert is_finite(update)


@EACH
def test_one_nan_on_one_worker_is_over_when_it_is_over(way):
    params = params_of()
    run = Simulation(make_tx(way), params)
    run(gradients_like(params, 0))
    bad = gradients_like(params, 1)
    bad["conv"] = bad["conv"].at[2, 0, 0, 0, 0].set(jnp.nan)
    run(bad)
    assert is_finite(run.state) or way == "power_sgd"  # which draws a new start
    for seed in (2, 3):
        update = run(gradients_like(params, seed))
        assert is_finite(update) and np.any(update["conv"])


@EACH
def test_a_restored_run_continues_bit_by_bit(way, tmp_path):
    params = params_of()
    run = Simulation(make_tx(way), params)
    run(gradients_like(params, 0))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", run.state)
        checkpointer.wait_until_finished()
        again = checkpointer.restore(tmp_path / "state", run.state)
    one = run(gradients_like(params, 1))
    run.state = again
    other = run(gradients_like(params, 1))
    for left, right in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_array_equal(left, right)


@EACH
def test_a_restored_run_continues_with_other_workers(way):
    params = params_of()
    run = Simulation(make_tx(way), params)
    run(gradients_like(params, 0))
    larger = Simulation(make_tx(way), params, num_workers=6)
    # What fits four workers need not be what `auto` chooses for six.
    try:
        larger.state = jd.resize_residuals(run.state, NUM_WORKERS, 6, params)
        update = larger(gradients_like(params, 1, 6))
    except ValueError as error:
        assert "another route" in str(error)
        return
    assert is_finite(update) and np.any(update["conv"])


@EACH
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_gradients_of_awkward_shapes_come_back_as_they_were(way, dtype):
    params = params_of(dtype, empty=jnp.zeros((0, 3), dtype))
    run = Simulation(make_tx(way), params)
    for seed in range(2):
        update = run(gradients_like(params, seed))
    for name, leaf in update.items():
        assert (leaf.shape, leaf.dtype) == (params[name].shape, dtype)
    assert is_finite(update)


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
