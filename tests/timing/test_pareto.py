"""Times with a heavy tail."""

import math

import pytest

from jaxdist import timing
from tests.timing import draws


def test_distribution():
    draws.assert_distribution(timing.pareto(2.0, 3.0), lambda t: (3.0 / t) ** 2)


@pytest.mark.parametrize("k", [1, 4, 8])
def test_smallest(k):
    draws.assert_smallest(timing.pareto(3.0, 1.0), k)


def test_a_tail_without_a_mean_says_so():
    law = timing.pareto(0.8, 1.0)
    assert math.isinf(timing.expected_step_time(timing.k_batch_async(2), 8, law))
    assert math.isinf(timing.expected_step_time(timing.k_sync(8), 8, law))
    assert timing.expected_step_time(timing.k_sync(4), 8, law) < 3
