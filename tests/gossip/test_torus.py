"""Every worker of a torus hears the four around it."""

import numpy as np

import jaxdist as jd


def test_neighbours():
    matrix = jd.gossip.torus(3, 4).matrix(12)
    assert set(np.nonzero(matrix[5])[0]) == {5, 1, 9, 4, 6}
    assert set(np.nonzero(matrix[3])[0]) == {3, 11, 7, 2, 0}  # borders are joined
    np.testing.assert_allclose(matrix[matrix > 0], 0.2)


def test_short_sides_have_fewer():
    assert jd.gossip.torus(2, 4).degree(8) == 3
    assert jd.gossip.torus(1, 5).degree(5) == 2
    assert jd.gossip.torus(1, 1).degree(1) == 0
