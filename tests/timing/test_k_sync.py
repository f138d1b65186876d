"""K-sync: cancelled workers have used up their draws."""

import numpy as np

from jaxdist import timing


def test_everybody_begins_again():
    law = timing.trace([[1.0, 5.0], [2.0, 1.0], [9.0, 1.5]])
    found = timing.simulate_clock(timing.k_sync(2), law, 3, 2)
    np.testing.assert_allclose(found.time, [2.0, 3.5])
    np.testing.assert_array_equal(found.worker, [[0, 1], [1, 2]])
    np.testing.assert_array_equal(found.staleness, 0)
