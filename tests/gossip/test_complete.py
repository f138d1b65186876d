"""All hear all."""

import numpy as np

import jaxdist as jd


def test_the_matrix_is_the_mean():
    np.testing.assert_allclose(jd.gossip.complete().matrix(5), np.full((5, 5), 0.2))
    assert jd.gossip.complete().spectral_gap(5) == 1.0
