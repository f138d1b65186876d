"""Offsets lead both ways."""

import numpy as np
import pytest

import jaxdist as jd


def test_offsets_lead_both_ways():
    expected = [(5, 2), (5, 1), (5, 9), (5, 8)]
    matrix = jd.gossip.circulant(3, 4).matrix(12)
    assert {(5, int(j)) for j in np.nonzero(matrix[5])[0]} == {*expected, (5, 5)}
    np.testing.assert_allclose(matrix[matrix > 0], 0.2)


def test_offsets_are_integers():
    with pytest.raises(ValueError, match="`offsets` must be one integer or more"):
        jd.gossip.circulant()
    with pytest.raises(ValueError, match="`offsets` must be an integer >= 1, got 0"):
        jd.gossip.circulant(1, 0)
