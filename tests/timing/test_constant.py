"""Times that are all the same."""

import numpy as np

from jaxdist import timing
from tests.timing import draws


def test_every_draw_is_the_same():
    np.testing.assert_array_equal(draws.draws_of(timing.constant(2.5), number=5), 2.5)
    assert timing.expected_step_time(timing.k_sync(3), 8, timing.constant(2.5)) == 2.5


def test_who_ties_comes_in_the_order_of_the_index():
    found = timing.simulate_clock(timing.k_async(1), timing.constant(1.0), 3, 6)
    np.testing.assert_array_equal(np.ravel(found.worker), [0, 1, 2, 0, 1, 2])
