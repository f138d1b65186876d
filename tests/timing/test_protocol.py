"""Protocols of one's own."""

import dataclasses

import numpy as np
import pytest

from jaxdist import timing
from jaxdist.timing import _clock


def _last_first(race, clock):
    """Wait for everybody, and take the gradient of the slowest."""
    workers = _clock.first_workers(clock, race.num_workers)
    clock = _clock.let_pass(clock, clock.remaining[workers[-1]])
    arrivals = _clock.arrivals_of(clock, workers[-1:])
    return _clock.next_update(race.restart_all(clock)), arrivals


def test_a_protocol_is_a_function_of_the_clock():
    protocol = timing.Protocol("last first", 1, _last_first, is_synchronous=True)
    law = timing.trace([[1.0], [3.0], [2.0]])
    found = timing.simulate_clock(protocol, law, 3, 2)
    np.testing.assert_array_equal(found.worker, [[1], [1]])
    with pytest.raises(ValueError, match="No formula is known for the time"):
        timing.expected_step_time(protocol, 3, law)
    with pytest.raises(ValueError, match="No formula is known for the staleness"):
        timing.expected_staleness(protocol, 3)


def test_no_protocol_is_named():
    with pytest.raises(TypeError, match="`protocol` must be of type Protocol"):
        timing.simulate_clock(timing.k_sync, timing.constant(), 2, 1)


def test_how_often_a_worker_may_come():
    assert timing.k_async(3).most_visits(8) == 0
    assert timing.k_batch_async(3).most_visits(8) == 3
    assert timing.k_batch_async(1).most_visits(8) == 0
    assert timing.adasync(timing.k_batch_sync, 1, 1.0).most_visits(8) == 8
    assert timing.adasync(timing.k_batch_sync, 1, 1.0, [1, 20]).most_visits(8) == 20
    assert timing.adasync(timing.k_sync, 1, 1.0).most_visits(8) == 0
    assert dataclasses.replace(timing.k_sync(2), repeats=True).most_visits(8) == 2
