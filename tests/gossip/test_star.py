"""One worker hears all others."""

import numpy as np

import jaxdist as jd


def test_weights_keep_the_mean():
    matrix = jd.gossip.star().matrix(4)
    np.testing.assert_allclose(matrix[0], [0.25] * 4)
    np.testing.assert_allclose(matrix[2], [0.25, 0, 0.75, 0])
    assert jd.gossip.star().num_messages(4) == 1.5
