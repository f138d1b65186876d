"""Distributed Lion: votes of momenta that are each worker's own."""

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


def make(**options):
    return jd.optimizers.distributed_lion(AXIS, 0.1, **{"weight_decay": 0.0} | options)


def follow_paper(gradients, period=None, merge=lambda u: np.sign(u.sum(axis=0))):
    """Return the updates of all steps, and the momenta."""
    momenta, updates = np.zeros(gradients.shape[1:]), []
    for step, rows in enumerate(gradients.astype(np.float64)):
        votes = np.sign(0.9 * momenta + 0.1 * rows)
        momenta = 0.99 * momenta + 0.01 * rows
        if period and (step + 1) % period == 0:
            momenta[:] = momenta.mean(axis=0)
        updates.append(-0.1 * merge(votes))
    return np.stack(updates), momenta


@pytest.mark.parametrize("period", [None, 2])
def test_it_follows_the_paper(period):
    """A weight without a gradient stays where it is: three values can say zero."""
    found, state = harness.train_in_common(make(period=period), PARAMS, GRADIENTS)
    updates, momenta = follow_paper(GRADIENTS, period)
    np.testing.assert_allclose(found, updates, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 0, 0], 0)
    own = state.momentum.inner_state[:, 0]
    np.testing.assert_allclose(own, momenta, rtol=1e-4, atol=1e-6)


def test_the_mean_of_signs_is_the_other_rule_of_the_paper():
    found, _ = harness.train_in_common(make(rule=jd.rules.mean()), PARAMS, GRADIENTS)
    updates, _ = follow_paper(GRADIENTS, merge=lambda u: u.mean(axis=0))
    np.testing.assert_allclose(found, updates, rtol=1e-5)


def test_alone_it_is_lion():
    lion = optax.lion(0.1, weight_decay=0.2)
    found, _ = harness.train_in_common(make(weight_decay=0.2), PARAMS, GRADIENTS[:, :1])
    expected, _ = harness.train_in_common(lion, PARAMS, GRADIENTS[:, :1])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_who_is_absent_neither_votes_nor_moves():
    weight = np.ones((6, 3), np.float32)
    weight[:, 1], weight[2] = 0, 0
    tx = make(period=3)
    found, state = harness.train_in_common(tx, PARAMS, GRADIENTS, weight=weight)
    np.testing.assert_array_equal(found[2], 0)
    np.testing.assert_array_equal(state.momentum.inner_state[1], 0)
    others = GRADIENTS[[0, 1, 3, 4]][:, [0, 2]]
    expected, _ = follow_paper(others)
    np.testing.assert_allclose(found[[0, 1, 3, 4]], expected, rtol=1e-6)


def test_one_nan_does_not_vote():
    spoilt = GRADIENTS.copy()
    spoilt[1, 1, 1, 2] = np.nan
    updates, state = harness.train_in_common(make(), PARAMS, spoilt)
    assert np.isfinite(updates).all()
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()


def test_an_average_counts_as_often_as_it_is_sent():
    params = {"w": jnp.zeros((64, 64))}
    never, often = (
        jd.communication_report(make(period=period), params, 8).total_nbytes
        for period in (None, 10)
    )
    assert often - never == pytest.approx(7 / 8 * 2 * 4 * 4096 / 10)
    one_bit = jd.compression.scaled_sign()
    bits = jd.communication_report(
        make(compressor=one_bit, downlink=one_bit), params, 8
    )
    # Bits and a scale, both ways, and an all-reduce of whose votes were not finite.
    assert bits.total_nbytes == 7 * 2 * (512 / 8 + 4) + 7 / 8 * 2 * 32


def test_a_compressor_of_averages_needs_a_period():
    with pytest.raises(ValueError, match="`average_compressor`.*with `period`"):
        make(average_compressor=jd.compression.cast(jnp.bfloat16))
