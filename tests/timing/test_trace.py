"""Recorded times."""

import numpy as np
import pytest

from jaxdist import timing
from tests.timing import draws


def test_reads_round_and_round():
    times = np.arange(6.0).reshape(2, 3)
    for worker in range(2):
        found = draws.draws_of(timing.trace(times), worker, number=7)
        np.testing.assert_array_equal(found, np.resize(times[worker], 7))


def test_is_for_as_many_workers_as_rows():
    with pytest.raises(ValueError, match="`times` of trace must have a row for each"):
        timing.simulate_clock(timing.k_sync(1), timing.trace(np.ones((3, 2))), 4, 1)
