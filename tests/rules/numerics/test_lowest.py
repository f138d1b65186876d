"""The lowest scores: ties, infinity, and everybody."""

import jax.numpy as jnp
import numpy as np

from jaxdist.rules.numerics import _lowest


def test_ties_go_to_the_lowest_index():
    scores = jnp.array([2.0, 1.0, 1.0, 0.0, 1.0])
    weights = _lowest.mean_weights(scores, 2)
    np.testing.assert_array_equal(weights, [[0, 0.5, 0, 0.5, 0]])


def test_who_is_infinite_is_never_chosen():
    scores = jnp.array([jnp.inf, 1.0, jnp.inf])
    np.testing.assert_array_equal(_lowest.mean_weights(scores, 2), [[0, 0.5, 0]])


def test_ranks_are_those_of_each_row():
    scores = jnp.array([[2.0, 1.0, 1.0], [jnp.inf, 0.0, 3.0]])
    np.testing.assert_array_equal(_lowest.score_ranks(scores), [[2, 0, 1], [2, 0, 1]])
