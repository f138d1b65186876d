"""Exponential times."""

import numpy as np
import pytest

from jaxdist import timing
from tests.timing import draws


def test_distribution():
    draws.assert_distribution(timing.exponential(2.0), lambda t: np.exp(-t / 2))


@pytest.mark.parametrize("k", [1, 4, 8])
def test_smallest(k):
    draws.assert_smallest(timing.exponential(2.0), k)


def test_synchronous_steps_cost_a_harmonic_number():
    """Waiting for all of P against waiting for one at a time: P H_P."""
    for num_workers, wanted in ((8, 21.743), (40, 171.1)):
        law = timing.exponential(1.0)
        both = [
            timing.expected_step_time(protocol, num_workers, law)
            for protocol in (timing.k_sync(num_workers), timing.k_async(1))
        ]
        np.testing.assert_allclose(both[0] / both[1], wanted, rtol=5e-4)
