"""Moments of the honest updates."""

import jax.numpy as jnp
import numpy as np

from jaxdist.attacks import _moments


def test_moments_are_those_of_numpy_even_far_from_zero():
    rows = 100 + 0.01 * np.random.default_rng(0).standard_normal((64, 20))
    rows = rows.astype(np.float32)
    exact = rows.astype(np.float64)
    mean, deviation = _moments.mean_row(jnp.array(rows)), _moments.deviation_row(rows)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(deviation, exact.std(axis=0), rtol=2e-3)


def test_one_worker_does_not_deviate():
    np.testing.assert_array_equal(_moments.deviation_row(jnp.ones((1, 3))), 0)
