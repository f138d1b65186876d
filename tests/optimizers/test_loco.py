"""LoCo: Adam on gradients whose errors come back averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
GRADIENTS = oracles.gradients()
PARAMS = jnp.ones(oracles.SHAPE)


def four_bits(array):
    """Round to seven levels of either sign."""
    scale = np.abs(array).max() / 7
    return np.round(array / scale) * scale


def feedback(**options):
    return jd.compression.error_feedback(jd.compression.blockwise_int(4), **options)


def test_it_follows_the_paper():
    owed = np.zeros((3, *oracles.SHAPE))
    momentum, variance, expected = 0.0, 0.0, []
    for step, rows in enumerate(GRADIENTS.astype(np.float64)):
        wanted = rows + owed
        sent = np.stack([four_bits(row) for row in wanted])
        owed = 0.75 * owed + 0.25 * (wanted - sent)
        mean = sent.mean(axis=0)
        momentum = 0.9 * momentum + 0.1 * mean
        variance = 0.99 * variance + 0.01 * mean**2
        root = np.sqrt(variance / (1 - 0.99 ** (step + 1))) + 1e-8
        expected.append(-0.1 * momentum / (1 - 0.9 ** (step + 1)) / root)
    tx = jd.optimizers.loco(AXIS, 0.1, b2=0.99, compressor=feedback(average=0.25))
    found, _ = harness.train_in_common(tx, PARAMS, GRADIENTS)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("standard_promotion")
def test_dense_it_is_adamw():
    dense = jd.compression.identity()
    tx = jd.optimizers.loco(AXIS, 0.1, weight_decay=0.1, compressor=dense)
    adamw = optax.chain(jd.aggregate(AXIS), optax.adamw(0.1, weight_decay=0.1))
    found, _ = harness.train_in_common(tx, PARAMS, GRADIENTS)
    expected, _ = harness.train_in_common(adamw, PARAMS, GRADIENTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_large_leaves_take_four_bits_and_a_byte_of_memory():
    params = {"w": jnp.zeros((64, 64))}
    tx = jd.optimizers.loco(AXIS, 0.1)
    gradients = {"w": oracles.gradients(steps=2, shape=(64, 64))}
    updates, state = harness.train_in_common(tx, params, gradients)
    assert np.isfinite(updates["w"]).all()
    residual = state.sent.uplink.inner_state["w"].residual
    assert residual.values.dtype == jnp.int8


def test_one_nan_is_seen_and_does_not_stay():
    spoilt = GRADIENTS.copy()
    spoilt[1, 1, 1, 2] = np.nan
    tx = jd.optimizers.loco(AXIS, 0.1, compressor=feedback())
    updates, state = harness.train_in_common(tx, PARAMS, spoilt)
    assert np.isnan(updates[1, 1, 2]) and np.isfinite(updates[2:]).all()
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()
