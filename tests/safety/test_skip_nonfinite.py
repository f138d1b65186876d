"""One worker's NaN stops all workers for a step, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

UPDATES = {
    "a": jax.random.normal(jax.random.key(0), (4, 8, 6)),
    "b": jax.random.normal(jax.random.key(1), (4, 8, 3)),
}
PARAMS = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), UPDATES)
CHAIN = optax.chain(
    jd.per_worker(harness.AXIS, optax.trace(0.9)),
    jd.aggregate(
        harness.AXIS,
        jd.rules.mean(),
        jd.compression.error_feedback(jd.compression.scaled_sign()),
    ),
    optax.adam(0.1),
)
TX = jd.skip_nonfinite(harness.AXIS, CHAIN)


def spoiled(value):
    """Return the updates, and between steps 0 and 1 a step with one bad element."""
    bad = {**UPDATES, "b": UPDATES["b"].at[0, 5, 2].set(value)}
    return jax.tree.map(
        lambda good, bad: jnp.concatenate([good[:1], bad[:1], good[1:]]), UPDATES, bad
    )


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_a_bad_step_is_as_if_it_had_never_been(backend):
    out, state = harness.run_steps(TX, backend, PARAMS, spoiled(np.nan))
    expected, untouched = harness.run_steps(TX, backend, PARAMS, UPDATES)
    for name in UPDATES:
        np.testing.assert_array_equal(out[name][:, 1], 0)
        left = np.delete(np.asarray(out[name]), 1, axis=1)
        np.testing.assert_array_equal(left, expected[name])
    harness.assert_trees_equal(state.inner_state, untouched.inner_state)
    np.testing.assert_array_equal(state.skipped, 1)
    np.testing.assert_array_equal(untouched.skipped, 0)


@pytest.mark.usefixtures("standard_promotion")
def test_finite_steps_pass_through():
    out, state = harness.run_steps(TX, "shard_map", PARAMS, UPDATES)
    expected, inner = harness.run_steps(CHAIN, "shard_map", PARAMS, UPDATES)
    harness.assert_trees_close(out, expected)
    harness.assert_trees_close(state.inner_state, inner)


def test_a_recipe_survives_a_bad_batch():
    def loss(params, batch):
        return jnp.mean((params - batch) ** 2)

    tx = jd.skip_nonfinite("data", optax.chain(jd.aggregate("data"), optax.sgd(0.5)))
    init, step = jd.data_parallel(loss, tx, harness.make_mesh(), "data")
    good = np.arange(8, dtype=np.float32)
    bad = np.where(good == 3, np.inf, good)
    state = init(jnp.zeros(()))
    state, _ = step(state, bad)
    assert float(state.params) == 0 and int(state.opt_state.skipped) == 1
    state, _ = step(state, good)
    assert float(state.params) == 3.5 and int(state.opt_state.skipped) == 1


def test_axis_name_is_checked():
    with pytest.raises(ValueError, match="`axis_name` must be"):
        jd.skip_nonfinite(3, optax.identity())


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_who_is_absent_stops_nobody(backend):
    tx = jd.skip_nonfinite(harness.AXIS, jd.aggregate(harness.AXIS))
    updates = jnp.arange(8.0)[None].at[0, 3].set(jnp.nan)
    weight = jnp.ones((1, 8)).at[0, 3].set(0)
    params = jnp.zeros(8)
    out, state = harness.run_steps(tx, backend, params, updates, {"weight": weight})
    np.testing.assert_allclose(out, np.full((8, 1), (28 - 3) / 7), rtol=1e-6)
    np.testing.assert_array_equal(state.skipped, 0)
    _, state = harness.run_steps(
        tx, backend, params, updates, {"weight": jnp.ones((1, 8))}
    )
    np.testing.assert_array_equal(state.skipped, 1)
