"""The largest eigenvalue and its direction, from distances alone."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules.numerics import _spectrum

ROWS = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
COUNTS = np.array([1, 0.5, 0.25, 0, 1, 0.125, 1], np.float32)


@pytest.mark.parametrize("away", [0.0, 1e6, 1e12, 1e18])
def test_equals_the_covariance_of_those_who_count(away):
    rows = ROWS.copy()
    rows[3] += away
    found = _spectrum.measure_spectrum(
        jd.rules.Geometry.of(jnp.asarray(rows)), jnp.asarray(COUNTS)
    )
    weights = COUNTS.astype(np.float64) / COUNTS.sum()
    centred = rows - weights @ rows.astype(np.float64)
    values, vectors = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    blame = (centred @ vectors[:, -1]) ** 2 * (COUNTS > 0)
    np.testing.assert_allclose(found.variance, values[-1], rtol=1e-5)
    np.testing.assert_allclose(found.blame, blame / blame.max(), rtol=1e-4, atol=1e-6)


def test_equal_workers_are_not_to_blame():
    found = _spectrum.measure_spectrum(
        jd.rules.Geometry.of(jnp.ones((4, 2))), jnp.ones(4)
    )
    assert float(found.variance) == 0
    np.testing.assert_array_equal(found.blame, 0)
