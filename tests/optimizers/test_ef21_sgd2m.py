"""EF21-SGD2M: two momenta of each worker, and the estimates that receivers have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SHAPE = (32, 33)  # large enough not to travel as it is
GRADIENTS = oracles.gradients(steps=5, shape=SHAPE)
PARAMS = jnp.ones(SHAPE)


def make(**options):
    return jd.optimizers.ef21_sgd2m(AXIS, 0.1, **{"momentum": 0.8} | options)


def follow_paper(gradients, compress, momentum=0.8):
    """Return the updates of all steps."""
    first, second = gradients[0].astype(np.float64), gradients[0].astype(np.float64)
    estimates, updates = np.zeros(first.shape), []
    for step, rows in enumerate(gradients.astype(np.float64)):
        if step:
            first = momentum * first + (1 - momentum) * rows
            second = momentum * second + (1 - momentum) * first
        changes = zip(second, estimates, strict=True)
        estimates = estimates + np.stack([compress(u - h) for u, h in changes])
        updates.append(-0.1 * estimates.mean(axis=0))
    return np.stack(updates)


def largest(array, density=0.25):
    """Keep the largest elements."""
    count = round(density * array.size)
    least = np.sort(np.abs(array), axis=None)[-count]
    return array * (np.abs(array) >= least)


def test_it_follows_the_paper():
    tx = make(compressor=jd.compression.top_k(0.25, PARAMS.size))
    found, state = harness.train_in_common(tx, PARAMS, GRADIENTS)
    expected = follow_paper(GRADIENTS, largest)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.own.inner_state.count, 5)


def test_small_leaves_have_both_momenta_too():
    small = oracles.gradients(steps=5)
    found, _ = harness.train_in_common(make(), jnp.ones(oracles.SHAPE), small)
    np.testing.assert_allclose(
        found, follow_paper(small, lambda change: change), rtol=1e-4, atol=1e-6
    )


def test_a_constant_gradient_arrives_whole():
    constant = np.broadcast_to(GRADIENTS[:1], (12, *GRADIENTS.shape[1:]))
    tx = make(compressor=jd.compression.top_k(0.1), rule=jd.rules.median())
    found, _ = harness.train_in_common(tx, PARAMS, constant)
    expected = -0.1 * np.median(GRADIENTS[0], axis=0)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-5, atol=1e-6)


def test_who_is_absent_starts_when_it_comes():
    weight = np.ones((5, 3), np.float32)
    weight[:2, 1], weight[3] = 0, 0
    spoilt = np.where(weight[..., None, None] > 0, GRADIENTS, np.nan)
    tx = make(compressor=jd.compression.top_k(1.0), weighted=True)
    found, state = harness.train_in_common(tx, PARAMS, spoilt, weight=weight)
    np.testing.assert_array_equal(found[3], 0)
    np.testing.assert_array_equal(state.own.inner_state.count[:, 0], [4, 2, 4])
    own = state.own.inner_state.second[1, 0]
    alone = follow_paper(GRADIENTS[[2, 4], 1:2], lambda change: change)
    np.testing.assert_allclose(own, -10 * alone[-1], rtol=1e-5, atol=1e-6)


def test_one_nan_changes_no_more_than_its_element():
    spoilt = GRADIENTS.copy()
    spoilt[2, 1, 3, 5] = np.nan
    tx = make(compressor=jd.compression.top_k(0.25, PARAMS.size))
    found, state = harness.train_in_common(tx, [PARAMS] * 2, [spoilt, GRADIENTS])
    for leaf in jax.tree.leaves((found, state)):
        assert np.isfinite(leaf).all()
    second, clean = state.own.inner_state.second
    np.testing.assert_array_equal(np.argwhere(second != clean), [[1, 0, 3, 5]])


def test_what_is_no_contraction_or_remembers_is_refused():
    for bad, message in (
        (jd.compression.qsgd(4), "no contraction"),
        (jd.compression.error_feedback(jd.compression.top_k(0.1)), "remembers already"),
    ):
        with pytest.raises(ValueError, match=message):
            make(compressor=bad)
