"""Rings have the eigenvalues of a circle."""

import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    ("num_workers", "radius"),
    [(4, 0.3333), (8, 0.8047), (16, 0.9493), (32, 0.9872), (64, 0.9968)],
)
def test_radius(num_workers, radius):
    assert 1 - jd.gossip.ring().spectral_gap(num_workers) == pytest.approx(
        radius, abs=5e-5
    )


def test_two_workers_are_a_pair():
    np.testing.assert_array_equal(jd.gossip.ring().matrix(2), np.full((2, 2), 0.5))
    np.testing.assert_array_equal(jd.gossip.ring().matrix(1), [[1.0]])
