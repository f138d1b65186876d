"""The clock: compensated time, who comes first, how often."""

import jax.numpy as jnp
import numpy as np

from jaxdist import timing
from jaxdist.timing import _clock, _simulate_clock


def _start(times):
    race = _clock.Race(timing.trace(times), len(times))
    return race, race.start_clock(_simulate_clock.start_stream(0))


def test_many_small_times_add_up():
    """A plain float32 sum stands still at 2**24 of the smallest."""
    _, clock = _start([[1.0]])
    clock = clock._replace(time=jnp.float32(2.0**24))
    for _ in range(10):
        clock = _clock.let_pass(clock, jnp.float32(0.3))
    np.testing.assert_array_equal(clock.time, np.float32(2.0**24 + 4))
    assert abs(float(clock.time) - float(clock.lost) - (2.0**24 + 3)) < 1e-3


def test_first_workers_in_order_of_time_and_index():
    _, clock = _start([[3.0], [1.0], [1.0], [2.0]])
    np.testing.assert_array_equal(_clock.first_workers(clock, 3), [1, 2, 3])
    np.testing.assert_array_equal(_clock.first_workers(clock, 1), [1])


def test_visits_are_counted_in_order_of_time():
    arrivals = _clock.Arrivals(
        *(jnp.array(x) for x in ([2, 0, 2, 2], [5, 6, 7, 8])),
        *(jnp.array(x) for x in ([1, 1, 2, 3], [0, 0, 0, 0])),
    )
    found = _clock.sort_arrivals(arrivals)
    np.testing.assert_array_equal(found.worker, [0, 2, 2, 2])
    np.testing.assert_array_equal(found.version, [6, 5, 7, 8])
    np.testing.assert_array_equal(found.visit, [0, 0, 1, 2])


def test_who_begins_again_reads_the_next_parameters():
    race, clock = _start([[3.0, 4.0], [1.0, 2.0]])
    clock = _clock.let_pass(clock, jnp.float32(1.0))
    clock = race.restart_some(clock, jnp.array([1]), jnp.int32(1))
    np.testing.assert_array_equal(clock.remaining, [2, 2])
    np.testing.assert_array_equal(clock.version, [0, 1])
    np.testing.assert_array_equal(clock.draws, [0, 1])
