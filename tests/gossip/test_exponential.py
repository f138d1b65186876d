"""The exponential graph is a good expander."""

import numpy as np
import pytest

import jaxdist as jd
from jaxdist.gossip import _exponential


@pytest.mark.parametrize("power", [2, 3, 4, 5, 6])
def test_radius(power):
    expected = (power - 1) / (power + 1)
    gap = jd.gossip.exponential().spectral_gap(2**power)
    assert 1 - gap == pytest.approx(expected)


def test_who_is_heard():
    heard = np.nonzero(jd.gossip.exponential().matrix(12)[0])[0]
    assert set(heard) == {0, 11, 10, 8, 4}
    assert [_exponential.num_powers(n) for n in (1, 2, 3, 8, 9)] == [0, 1, 2, 3, 4]
