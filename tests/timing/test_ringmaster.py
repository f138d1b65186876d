"""Ringmaster: nothing old is ever accepted, and nobody starves who is fast enough."""

import numpy as np
import pytest

from jaxdist import timing


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_nothing_is_older_than_the_limit(limit):
    law = timing.slowed(timing.exponential(1.0), np.linspace(1, 4, 8))
    found = timing.simulate_clock(timing.ringmaster(limit), law, 8, 500)
    assert np.max(found.staleness) == limit - 1


def test_a_large_limit_is_asynchronous_sgd():
    law = timing.exponential(1.0)
    found = timing.simulate_clock(timing.ringmaster(10_000), law, 8, 200)
    wanted = timing.simulate_clock(timing.k_async(1), law, 8, 200)
    np.testing.assert_array_equal(found.time, wanted.time)
    np.testing.assert_array_equal(found.worker, wanted.worker)


def test_no_formula_is_known():
    with pytest.raises(ValueError, match=r"staleness of ringmaster\(3\)"):
        timing.expected_staleness(timing.ringmaster(3), 8)
