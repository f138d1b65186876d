"""Chains with optax's wrappers either work or say what to do instead."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

pytestmark = pytest.mark.usefixtures("standard_promotion")
BACKENDS = pytest.mark.parametrize("backend", harness.BACKENDS)
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
AGGREGATE = jd.aggregate(harness.AXIS, jd.rules.median(), SIGN)
UPDATES = {
    "a": jax.random.normal(jax.random.key(0), (3, 8, 6)),
    "b": jax.random.normal(jax.random.key(1), (3, 8, 4)),
}
PARAMS = jax.tree.map(lambda x: jnp.zeros_like(x[0]), UPDATES)


def run(tx, backend, updates=UPDATES):
    return harness.run_steps(tx, backend, PARAMS, updates)[0]


@BACKENDS
def test_named_chain(backend):
    named = optax.named_chain(("wire", AGGREGATE), ("sgd", optax.sgd(0.1)))
    plain = optax.chain(AGGREGATE, optax.sgd(0.1))
    harness.assert_trees_equal(run(named, backend), run(plain, backend))


@BACKENDS
def test_masked_sees_the_chosen_leaves(backend):
    masked = optax.masked(AGGREGATE, {"a": True, "b": False})
    out = run(masked, backend)
    only_a, _ = harness.run_steps(
        AGGREGATE, backend, {"a": PARAMS["a"]}, {"a": UPDATES["a"]}
    )
    harness.assert_trees_equal({"a": out["a"]}, only_a)
    np.testing.assert_array_equal(out["b"], jnp.swapaxes(UPDATES["b"], 0, 1))


@BACKENDS
def test_partition_sends_each_part_its_own_way(backend):
    parts = optax.partition(
        {"sign": AGGREGATE, "dense": jd.aggregate(harness.AXIS)},
        {"a": "sign", "b": "dense"},
    )
    out = run(parts, backend)
    np.testing.assert_allclose(
        out["b"][0], UPDATES["b"].mean(axis=1), rtol=1e-5, atol=1e-6
    )
    only_a, _ = harness.run_steps(
        AGGREGATE, backend, {"a": PARAMS["a"]}, {"a": UPDATES["a"]}
    )
    harness.assert_trees_equal({"a": out["a"]}, only_a)


@BACKENDS
def test_inject_hyperparams_of_what_follows(backend):
    injected = optax.chain(AGGREGATE, optax.inject_hyperparams(optax.sgd)(0.1))
    plain = optax.chain(AGGREGATE, optax.sgd(0.1))
    harness.assert_trees_close(run(injected, backend), run(plain, backend))


def test_inject_hyperparams_of_a_real_number():
    """The strength of the pull may follow a schedule."""
    schedule = optax.linear_schedule(0.0, 1.0, 2)
    tx = optax.inject_hyperparams(
        jd.pull_to_leader,
        static_args=("axis_name", "period", "loss_average", "stored_strength"),
    )(harness.AXIS, schedule, period=1)
    params = jnp.arange(8.0)
    losses = jnp.broadcast_to(jnp.arange(8.0), (3, 8))
    out, _ = harness.run_steps(
        tx, "shard_map", params, jnp.zeros((3, 8)), {"value": losses}
    )
    shares = -np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(out, params[:, None] * shares[None], atol=1e-6)


def test_inject_hyperparams_of_what_shapes_the_program_says_so():
    tx = optax.inject_hyperparams(jd.delay_updates)(delay=2)
    with pytest.raises(ValueError, match="`delay`.*static_args='delay'"):
        jax.jit(tx.init)(jnp.zeros(3))
    static = optax.inject_hyperparams(jd.delay_updates, static_args="delay")(delay=2)
    state = static.init(jnp.zeros(3))
    out, _ = static.update(jnp.ones(3), state)
    np.testing.assert_array_equal(out, 0)


@BACKENDS
def test_multi_steps_of_what_follows(backend):
    tx = optax.chain(
        AGGREGATE, optax.MultiSteps(optax.sgd(1.0), 3).gradient_transformation()
    )
    out = run(tx, backend)
    alone = run(AGGREGATE, backend)
    for name in UPDATES:
        np.testing.assert_array_equal(out[name][:, :2], 0)
        np.testing.assert_allclose(
            out[name][:, 2], -alone[name].mean(axis=1), rtol=1e-5, atol=1e-6
        )


@BACKENDS
def test_apply_if_finite_of_what_follows_skips_alike(backend):
    """One NaN at one worker: all workers see the same mean, and all skip."""
    updates = {**UPDATES, "a": UPDATES["a"].at[1, 3, 2].set(jnp.nan)}
    tx = optax.chain(
        jd.aggregate(harness.AXIS), optax.apply_if_finite(optax.sgd(1.0), 5)
    )
    out = run(tx, backend, updates)
    for leaf in jax.tree.leaves(out):
        assert np.ptp(leaf, axis=0).max() == 0
        np.testing.assert_array_equal(leaf[:, 1], 0)
        assert np.abs(leaf[:, [0, 2]]).min() > 0


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda tx: optax.apply_if_finite(tx, 5),
        lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    ],
    ids=["apply_if_finite", "MultiSteps"],
)
def test_wrappers_around_the_network_are_refused_with_advice(wrapper):
    params = {"w": jnp.zeros(3)}
    tx = wrapper(optax.chain(AGGREGATE, optax.sgd(0.1)))
    with pytest.raises(ValueError, match="cannot enclose what differs between workers"):
        jd.init(tx, params, harness.make_mesh(), harness.AXIS)
    init, _ = jd.simulate(lambda params, batch: 0.0, tx, 8, harness.AXIS)
    with pytest.raises(ValueError, match="cannot enclose what differs between workers"):
        init(params)
