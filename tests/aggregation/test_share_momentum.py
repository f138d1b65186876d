"""One momentum for all workers: the sums travel, and what arrives is the momentum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS
RNG = np.random.default_rng(0)
GRADIENTS = RNG.standard_normal((5, 3, 6)).astype(np.float32)
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())


def run(tx, gradients=GRADIENTS, **extra):
    """Return the updates of all steps, and the last state of the first worker."""
    params = jnp.zeros_like(gradients[0, 0])
    updates, state = harness.train_in_common(tx, params, gradients, **extra)
    return updates, jax.tree.map(lambda leaf: leaf[0], state)


def test_dense_it_is_the_momentum_of_the_mean():
    updates, state = run(jd.share_momentum(AXIS, jd.aggregate(AXIS), 0.8))
    momentum = np.zeros(6)
    for step, gradients in enumerate(GRADIENTS):
        momentum = 0.8 * momentum + 0.2 * gradients.mean(axis=0)
        np.testing.assert_allclose(updates[step], momentum, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.momentum, momentum, rtol=1e-5, atol=1e-6)


def test_signs_of_momentum_with_feedback_as_in_the_paper():
    """Lines 6 to 11 of the algorithm, with the way back compressed as well."""
    tx = jd.share_momentum(
        AXIS, jd.aggregate(AXIS, compressor=SIGN, downlink=SIGN), 0.8
    )
    updates, _ = run(tx)

    def signs(rows):
        return np.abs(rows).mean(axis=-1, keepdims=True) * np.where(rows >= 0, 1, -1)

    momentum, owed, owed_back = np.zeros(6), np.zeros((3, 3, 2)), np.zeros((3, 2))
    for step, gradients in enumerate(GRADIENTS):
        # A worker scales each of the three parts, which travel apart.
        wanted = (0.8 * momentum + 0.2 * gradients).reshape(3, 3, 2) + owed
        sent = signs(wanted)
        owed = wanted - sent
        back = sent.mean(axis=0) + owed_back
        momentum = signs(back)
        owed_back = back - momentum
        momentum = momentum.reshape(6)
        np.testing.assert_allclose(updates[step], momentum, rtol=1e-4, atol=1e-5)


def test_a_robust_rule_keeps_attackers_out():
    attack = jd.inject_attack(AXIS, jd.attacks.sign_flip(100.0), 1)
    tx = jd.share_momentum(
        AXIS, optax.chain(attack, jd.aggregate(AXIS, jd.rules.median())), 0.5
    )
    honest = np.broadcast_to(np.float32([3.0, -2.0]), (4, 3, 2))
    updates, _ = run(tx, honest)
    expected = (1 - 0.5 ** np.arange(1, 5))[:, None] * [3.0, -2.0]
    np.testing.assert_allclose(updates, expected, rtol=1e-5)


@pytest.mark.parametrize("rule", [jd.rules.mean(), jd.rules.median()])
def test_one_nan_does_not_stay(rule):
    gradients = GRADIENTS.copy()
    gradients[1, 2, 3] = np.nan
    updates, state = run(jd.share_momentum(AXIS, jd.aggregate(AXIS, rule)), gradients)
    spoilt = ~np.isfinite(updates)
    assert spoilt.sum() == (1 if rule.linear else 0)
    assert spoilt[1, 3] == rule.linear
    assert np.isfinite(state.momentum).all()


def test_absent_workers_do_not_count_and_nobody_changes_nothing():
    weight = np.float32([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0]])
    updates, _ = run(
        jd.share_momentum(AXIS, jd.aggregate(AXIS), 0.8), GRADIENTS, weight=weight
    )
    momentum = np.zeros(6)
    for step, gradients in enumerate(GRADIENTS):
        there = weight[step] > 0
        if there.any():
            momentum = 0.8 * momentum + 0.2 * gradients[there].mean(axis=0)
        expected = momentum if there.any() else np.zeros(6)
        np.testing.assert_allclose(updates[step], expected, rtol=1e-5, atol=1e-6)


def test_alone_it_is_a_moving_average():
    updates, _ = run(jd.share_momentum(AXIS, jd.aggregate(AXIS)), GRADIENTS[:, :1])
    average = optax.ema(0.9, debias=False)
    state = average.init(jnp.zeros(6))
    for step in range(5):
        expected, state = average.update(jnp.asarray(GRADIENTS[step, 0]), state)
        np.testing.assert_allclose(updates[step], expected, rtol=1e-6)


def test_narrow_gradients_have_a_wide_momentum():
    tx = jd.share_momentum(AXIS, jd.aggregate(AXIS, compressor=SIGN))
    updates, state = run(tx, jnp.asarray(GRADIENTS, jnp.bfloat16))
    assert updates.dtype == jnp.bfloat16
    assert state.momentum.dtype == jnp.float32


def test_what_is_not_aggregated_is_refused():
    tx = jd.share_momentum(AXIS, optax.identity())
    init, _ = jd.simulate(lambda params, batch: jnp.mean(batch - params), tx, 2, AXIS)
    with pytest.raises(ValueError, match="`inner` must make one of W updates"):
        init(jnp.zeros(()))


@functools.cache
def trained(recipe):
    """Return the parameters after some steps of the same training."""
    tx = optax.chain(
        jd.share_momentum(AXIS, jd.aggregate(AXIS, compressor=SIGN)), optax.sgd(0.1)
    )

    def loss(params, batch):
        return jnp.mean((params[None] - batch) ** 2)

    if recipe == "simulate":
        init, step = jd.simulate(loss, tx, 8, AXIS)
    else:
        init, step = jd.data_parallel(loss, tx, harness.make_mesh(), AXIS)
    state = init(jnp.zeros(6))
    for _ in range(3):
        state, _ = step(state, jnp.asarray(RNG_BATCH))
    return state, tx


RNG_BATCH = np.random.default_rng(1).standard_normal((16, 6)).astype(np.float32)


def test_both_recipes_train_alike_and_go_on_with_other_workers():
    (state, tx), (other, _) = trained("simulate"), trained("data_parallel")
    np.testing.assert_allclose(state.params, other.params, rtol=1e-5, atol=1e-6)
    resized = jd.resize_training(state, tx, 3, AXIS)
    np.testing.assert_array_equal(
        resized.opt_state[0].momentum, state.opt_state[0].momentum
    )
