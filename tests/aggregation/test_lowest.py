"""The workers with the lowest scores: ties, and those that are not finite."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.aggregation import _lowest

ROWS = jnp.zeros((4, 2)).at[1].set(jnp.nan)


def test_ties_go_to_the_lowest_index_and_nobody_else_counts():
    geometry = jd.Geometry.of(ROWS)
    scores = jnp.array([2.0, 0.0, 1.0, 1.0])
    for number, expected in [(1, [0, 0, 1, 0]), (2, [0, 0, 0.5, 0.5])]:
        weights = _lowest.mean_of_lowest(scores, geometry, number)
        np.testing.assert_array_equal(weights, [expected])
    weights = _lowest.mean_of_lowest(jnp.zeros(4), geometry, 2)
    np.testing.assert_array_equal(weights, [[0.5, 0, 0.5, 0]])
