"""Adam's moments: directions without division by zero, and no bias."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdist.optimizers import _adam


def test_where_v_is_zero_nothing_moves():
    m, v = jnp.asarray([1.0, 2.0, -8.0]), jnp.asarray([0.0, 4.0, 1.0])
    found = _adam.direction_of(m, v, 0.0)
    np.testing.assert_array_equal(found, [0.0, 1.0, -8.0])
    found = _adam.direction_of(m, v, 0.0, 3.0)
    np.testing.assert_array_equal(found, [0.0, 1.0, -3.0])
    spoilt = _adam.direction_of(m * jnp.nan, v, 0.0, 3.0)
    np.testing.assert_array_equal(spoilt, [0.0, np.nan, np.nan])


def test_a_moment_without_bias_is_a_mean():
    for count, known in ((0, 0.1), (1, 0.1), (2, 0.19)):
        found = _adam.without_bias(
            jnp.asarray([known]), 0.9, jnp.asarray(count, jnp.int32)
        )
        np.testing.assert_allclose(found, [1.0], rtol=1e-5)


@pytest.mark.usefixtures("standard_promotion")
def test_steps_are_those_of_optax():
    adam, reference = (
        _adam.checked_adam(0.8, 0.9, 1e-3),
        optax.scale_by_adam(0.8, 0.9, 1e-3),
    )
    moments, state = (
        _adam.zero_moments("data", jnp.zeros(4)),
        reference.init(jnp.zeros(4)),
    )
    for step in range(3):
        gradient = jnp.asarray(
            np.random.default_rng(step).standard_normal(4), jnp.float32
        )
        count = jnp.asarray(step + 1, jnp.int32)
        found, moments = adam.step(gradient, moments, count, True)
        expected, state = reference.update(gradient, state)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    spoilt, kept = adam.step(jnp.full(4, jnp.nan), moments, count, True)
    assert np.isnan(spoilt).all()
    np.testing.assert_array_equal(kept.momentum, moments.momentum)
    np.testing.assert_array_equal(kept.variance, moments.variance)
