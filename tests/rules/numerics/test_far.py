"""Who is too far away to be compared beside the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules.numerics import _far

near = jax.jit(lambda rows: _far.find_crowd(jd.rules.Geometry.of(rows)).near)
ROWS = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("away", "is_near"), [(2.5e3, True), (3.5e3, False)])
def test_within_thousands_of_the_majority(away, is_near, scale, shift):
    rows = ROWS.astype(np.float32)
    rows[4] = away
    rows = np.float32(scale) * (rows + np.float32(shift))
    np.testing.assert_array_equal(near(rows), [True] * 4 + [is_near])


def test_a_majority_of_copies_is_alone():
    rows = jnp.array([[1.0], [1.0], [1.0], [2.0], [jnp.nan]])
    np.testing.assert_array_equal(near(rows), [True, True, True, False, False])


def test_wider_numbers_reach_farther():
    assert (
        2e3 < _far.crowd_reach(jnp.float32) < 4e3 < 1e7 < _far.crowd_reach(jnp.float64)
    )
