"""1-bit Adam against the paper: Adam for a while, then signs of a common momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
GRADIENTS = oracles.gradients()
PARAMS = jnp.ones(oracles.SHAPE)


def make(warm_up=3, **options):
    return jd.optimizers.one_bit_adam(
        AXIS, 0.1, warm_up, compressor=SIGN, **{"b2": 0.9, "max_ratio": None, **options}
    )


def follow_paper(gradients, warm_up, b1=0.9, b2=0.9, rate=0.1):
    """Return the updates of all steps."""
    send = oracles.MeanOf(oracles.signs)
    momentum, variance = np.zeros(oracles.SHAPE), np.zeros(oracles.SHAPE)
    updates = []
    for step, rows in enumerate(gradients.astype(np.float64)):
        if step < warm_up:
            mean = rows.mean(axis=0)
            momentum = b1 * momentum + (1 - b1) * mean
            variance = b2 * variance + (1 - b2) * mean**2
        else:
            momentum = send(b1 * momentum + (1 - b1) * rows)
        known = 1 - b2 ** min(step + 1, warm_up)
        root = np.sqrt(variance / known) + 1e-8
        moved = momentum / (1 - b1 ** (step + 1)) / root
        updates.append(-rate * np.where(variance > 0, moved, 0))
    return np.stack(updates)


def test_it_follows_the_paper():
    updates, state = harness.train_in_common(make(), PARAMS, GRADIENTS)
    expected = follow_paper(GRADIENTS, 3)
    np.testing.assert_allclose(updates, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state.count, 6)
    np.testing.assert_array_equal(state.refreshes, 3)


@pytest.mark.usefixtures("standard_promotion")
def test_in_the_warm_up_it_is_adamw():
    mask = {"w": True, "b": False}
    params = {"w": PARAMS, "b": jnp.ones(3)}
    gradients = {"w": GRADIENTS, "b": oracles.gradients(1, shape=(3, 1))[..., 0]}
    schedule = optax.linear_schedule(0.1, 0.0, 10)
    tx = jd.optimizers.one_bit_adam(
        AXIS, schedule, 10, weight_decay=0.1, mask=mask, b2=0.99
    )
    found, _ = harness.train_in_common(tx, params, gradients)
    adamw = optax.chain(
        jd.aggregate(AXIS),
        optax.adamw(schedule, b2=0.99, weight_decay=0.1, mask=mask),
    )
    expected, _ = harness.train_in_common(adamw, params, gradients)
    harness.assert_trees_close(found, expected)


def test_a_weight_without_a_gradient_never_moves():
    updates, _ = harness.train_in_common(make(), PARAMS, GRADIENTS)
    np.testing.assert_array_equal(updates[:, 0, 0], 0)
    assert np.abs(updates[:, 0, 1:]).min() > 0


@pytest.mark.usefixtures("standard_promotion")
def test_alone_it_is_adam():
    alone, _ = harness.train_in_common(make(10), PARAMS, GRADIENTS[:, :1])
    adam = optax.adam(0.1, b2=0.9)
    expected, _ = harness.train_in_common(adam, PARAMS, GRADIENTS[:, :1])
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)


def test_absent_workers_do_not_count():
    weight = np.ones((6, 3), np.float32)
    weight[1], weight[3, 1] = 0, 0
    tx = make(4, weight_decay=0.1)
    updates, state = harness.train_in_common(tx, PARAMS, GRADIENTS, weight=weight)
    np.testing.assert_array_equal(updates[1], 0)
    np.testing.assert_array_equal(state.refreshes, 3)  # of four steps one had nobody
    spoilt = GRADIENTS.copy()
    spoilt[1], spoilt[3, 1] = np.nan, np.nan
    same, _ = harness.train_in_common(tx, PARAMS, spoilt, weight=weight)
    np.testing.assert_array_equal(updates, same)


@pytest.mark.parametrize("step", [1, 4])
def test_one_nan_does_not_come_in_past_a_rule_and_does_not_stay_without(step):
    spoilt = GRADIENTS.copy()
    spoilt[step, 1, 1, 2] = np.nan
    guarded, _ = harness.train_in_common(make(rule=jd.rules.median()), PARAMS, spoilt)
    assert np.isfinite(guarded).all()
    updates, state = harness.train_in_common(make(), PARAMS, spoilt)
    assert np.isnan(updates[step, 1, 2])
    assert np.isfinite(updates[step + 1 :]).all()
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()


def test_the_report_says_what_a_step_sends():
    params = {"w": jnp.zeros((64, 64)), "b": jnp.zeros(64)}
    tx = jd.optimizers.one_bit_adam(AXIS, 0.1, 5)
    warm, after = (jd.communication_report(tx, params, 8, step=step) for step in (4, 5))
    assert warm.total_nbytes == warm.dense_nbytes == after.dense_nbytes
    # Bits and a scale for each of eight parts of the matrix, both ways; the vector
    # travels as it is.
    assert after.total_nbytes == 7 * 2 * (64 * 64 / 8 / 8 + 4) + 7 / 8 * 2 * 64 * 4
