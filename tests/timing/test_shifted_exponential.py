"""A constant and exponential times."""

import numpy as np
import pytest

from jaxdist import timing
from tests.timing import draws


def test_distribution():
    law = timing.shifted_exponential(1.0, 0.5)
    draws.assert_distribution(law, lambda t: np.exp(-(t - 1) / 0.5))
    assert draws.draws_of(law).min() >= 1.0


@pytest.mark.parametrize("k", [1, 4, 8])
def test_smallest(k):
    draws.assert_smallest(timing.shifted_exponential(1.0, 1.0), k)


def test_without_a_shift_it_has_no_memory():
    assert timing.shifted_exponential(0.0, 1.0).memoryless
    assert not timing.shifted_exponential(0.1, 1.0).memoryless
