"""Workers that are not equally fast."""

import numpy as np
import pytest

from jaxdist import timing
from tests.timing import draws


def test_each_worker_has_its_factor():
    law = timing.slowed(timing.exponential(1.0), [1.0, 3.0])
    means = [draws.draws_of(law, worker).mean() for worker in range(2)]
    np.testing.assert_allclose(means, [1, 3], rtol=5 / np.sqrt(draws.NUM_DRAWS))


def test_is_for_as_many_workers_as_factors():
    law = timing.slowed(timing.constant(1.0), [1.0, 2.0])
    with pytest.raises(ValueError, match="`factors` of slowed must have a number for"):
        timing.simulate_clock(timing.k_sync(1), law, 4, 1)


def test_who_never_finishes_never_arrives():
    law = timing.slowed(timing.constant(1.0), [1.0, np.inf, 2.0])
    found = timing.simulate_clock(timing.k_async(1), law, 3, 20)
    assert set(np.ravel(found.worker)) == {0, 2}
