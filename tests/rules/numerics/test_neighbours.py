"""Neighbours: scores of the published example, and who is taken in turn."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.rules.numerics import _neighbours
from tests.rules import golden


def test_scores_of_the_published_example():
    scores = _neighbours.neighbour_scores(2)(
        jd.rules.Geometry.of(golden.POINTS), jnp.zeros(7, bool)
    )
    np.testing.assert_allclose(
        scores, [2.5, 2.5, 2.5, 2.5, 1.5, 417.5, 421.5], rtol=1e-6
    )


def test_those_taken_are_nobodys_neighbours():
    geometry = jd.rules.Geometry.of(golden.POINTS)
    score = _neighbours.neighbour_scores(2)
    order = _neighbours.take_best(score, geometry, 7, 7)
    assert order[0] == 4 and sorted(order.tolist()) == list(range(7))
    few = _neighbours.take_best(score, geometry, 7, 3)
    np.testing.assert_array_equal(few, [*order[:3], 7, 7, 7, 7])  # 7 is no worker
    taken = jnp.arange(7) == order[0]
    assert jnp.isinf(score(geometry, taken)[order[0]])
    left = jnp.delete(golden.POINTS, order[0], axis=0)
    alone = score(jd.rules.Geometry.of(left), jnp.zeros(6, bool))
    np.testing.assert_allclose(
        jnp.delete(score(geometry, taken), order[0]), alone, rtol=1e-5
    )
