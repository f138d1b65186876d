"""Moments of which the second is refreshed seldom; directions without division by 0."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.optimizers import _rare_variance

REFRESHES = _rare_variance.Refreshes((0, 2, 6, 8), (1, 2, 0, 3))


def test_phases_have_their_periods():
    due = [bool(REFRESHES.is_due(jnp.asarray(i, jnp.int32))) for i in range(15)]
    assert np.flatnonzero(due).tolist() == [0, 1, 2, 4, 8, 11, 14]
    assert [REFRESHES.share(i) for i in (0, 3, 7, 100)] == [1, 1 / 2, 0, 1 / 3]


def test_the_variance_of_complex_weights_is_real():
    dense = jd.aggregate("data")
    moments = _rare_variance.RareVariance("data", (0.9, 0.9), REFRESHES, dense, dense)
    state = moments.init(jnp.zeros(3, jnp.complex64))
    assert state.momentum.dtype == jnp.complex64
    assert state.variance.dtype == jnp.float32
