"""Reduce variance: FedLOMO against NumPy, and where it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem, quadratics
from tests.recipes.quadratics import RATE, SIZE, WORKERS

AXIS = harness.AXIS
AVERAGE = optax.chain(jd.aggregate(AXIS), optax.sgd(1.0))


def _inner(decay, rate=RATE):
    return optax.chain(jd.reduce_variance(decay), optax.sgd(rate))


@pytest.mark.parametrize("correct_drift", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.8, 1.0])
def test_rounds_against_numpy(decay, correct_drift):
    matrices, centres = quadratics.noisy_quadratics(3)
    x, own, common = np.zeros(SIZE), np.zeros((WORKERS, SIZE)), np.zeros(SIZE)
    for a, c in zip(matrices, centres, strict=True):
        found = [
            quadratics.walk_by_hand(x, a[:, w], c[:, w], decay, common - own[w])
            for w in range(WORKERS)
        ]
        x = np.mean([end for end, _ in found], axis=0)
        if correct_drift:
            own = np.array([gradient for _, gradient in found])
            common = own.mean(axis=0)
    with jax.enable_x64(True):
        init, step = jd.simulate(
            *(quadratics.loss, _inner(decay), WORKERS, AXIS),
            outer=AVERAGE,
            inner_state="reset",
            correct_drift=correct_drift,
        )
        state = init(jnp.zeros(SIZE, jnp.float64))
        for batch in zip(matrices, centres, strict=True):
            state, _ = step(state, batch)
        np.testing.assert_allclose(state.params, x, atol=1e-13)


def test_without_noise_it_is_the_gradient():
    """Differences of gradients of one and the same function telescope."""
    matrices, centres = (x[0] for x in quadratics.noisy_quadratics(1))
    matrices, centres = (
        np.broadcast_to(x[:1], x.shape).copy() for x in (matrices, centres)
    )
    ends = []
    with jax.enable_x64(True):
        for inner in (_inner(1.0), optax.sgd(RATE)):
            init, step = jd.simulate(
                *(quadratics.loss, inner, WORKERS, AXIS),
                outer=AVERAGE,
                inner_state="reset",
            )
            state, _ = step(init(jnp.zeros(SIZE, jnp.float64)), (matrices, centres))
            ends.append(np.asarray(state.params))
    np.testing.assert_allclose(*ends, atol=1e-14)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("inner_state", ["carry", "reset", "average"])
def test_a_mesh_and_a_simulation_agree(inner_state):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((2, 3, 64, 10)).astype(np.float32)
    inner = optax.chain(jd.reduce_variance(), optax.adam(1e-2))
    options = {"outer": AVERAGE, "inner_state": inner_state}
    recipes = [
        jd.simulate(problem.loss, inner, 8, AXIS, **options),
        jd.data_parallel(problem.loss, inner, harness.make_mesh(), AXIS, **options),
    ]
    states = []
    for init, step in recipes:
        state = init(problem.PARAMS)
        for x in inputs:
            state, _ = step(state, (x, np.sin(x[..., :1])))
        states.append(jax.tree.map(np.asarray, state))
    harness.assert_trees_close(*states, atol=1e-6)


def test_both_gradients_draw_alike():
    """Noise that a key adds to a gradient is the same in both, and cancels."""

    def loss(params, batch, key):
        noise = jax.random.normal(key, params.shape)
        return jnp.sum(params * noise) + 0 * jnp.mean(batch)

    ends = []
    for number in (1, 3):
        init, step = jd.simulate(
            *(loss, optax.chain(jd.reduce_variance(), optax.sgd(1.0)), 2, AXIS),
            outer=AVERAGE,
            inner_state="reset",
            key=0,
        )
        state, _ = step(init(jnp.zeros(SIZE)), jnp.zeros((number, 2)))
        ends.append(np.asarray(state.params))
    np.testing.assert_allclose(ends[1], 3 * ends[0], rtol=1e-5)


def test_clients_that_are_sampled():
    """Two of three in each round, in the order of their times."""
    matrices, centres = quadratics.noisy_quadratics(6)
    init, step = jd.simulate_async(
        *(quadratics.loss, _inner(0.8), WORKERS, AXIS),
        protocol=jd.timing.k_sync(2),
        compute_time=jd.timing.exponential(),
        outer=AVERAGE,
        inner_state="reset",
    )
    state, x = init(jnp.zeros(SIZE)), np.zeros(SIZE)
    for a, c in zip(matrices, centres, strict=True):
        state, metrics = step(state, (a.astype(np.float32), c.astype(np.float32)))
        workers = np.asarray(metrics["worker"])
        x = np.mean(
            [quadratics.walk_by_hand(x, a[:, w], c[:, w], 0.8)[0] for w in workers], 0
        )
        np.testing.assert_allclose(state.params, x, atol=1e-5)


def test_narrow_parameters_have_a_wide_direction():
    params = jnp.ones(4, jnp.bfloat16)
    tx = jd.reduce_variance()
    state = tx.init(params)
    assert state.direction.dtype == jnp.float32
    small = jnp.full(4, 2.0**-12, jnp.bfloat16)
    zeros = jnp.zeros(4, jnp.bfloat16)
    _, state = tx.update(params, state, params, gradient_at=lambda p: zeros)
    for _ in range(16):
        seen, state = tx.update(small, state, params, gradient_at=lambda p: zeros)
    np.testing.assert_array_equal(state.direction, 1 + 2.0**-8)
    assert seen.dtype == jnp.bfloat16


def test_the_first_step_is_taken_along_its_gradient():
    """Where nothing is known yet, not even an infinite gradient elsewhere counts."""
    params, tx = jnp.ones(2), jd.reduce_variance()
    seen, _ = tx.update(
        params, tx.init(params), params, gradient_at=lambda p: p * jnp.inf
    )
    np.testing.assert_array_equal(seen, params)


def test_what_is_missing_is_named():
    tx, params = jd.reduce_variance(), jnp.ones(2)
    with pytest.raises(ValueError, match="`gradient_at` is missing.*local rounds"):
        tx.update(params, tx.init(params), params)
    with pytest.raises(ValueError, match="`params` is missing"):
        tx.update(params, tx.init(params), gradient_at=lambda p: p)
    with pytest.raises(ValueError, match=r"`decay` must .* got 1.5"):
        jd.reduce_variance(1.5)
    plain = optax.chain(jd.aggregate(AXIS), jd.reduce_variance(), optax.sgd(0.1))
    init, step = jd.simulate(problem.loss, plain, 8, AXIS)
    with pytest.raises(ValueError, match="`gradient_at` is missing"):
        step(init(problem.PARAMS), problem.BATCH)
