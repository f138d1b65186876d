"""K-batch-async: only whose mini-batch is the K-th reads the new parameters."""

import numpy as np
import pytest

from jaxdist import timing


def test_nobody_waits():
    law = timing.trace([[1.0], [2.5]])
    found = timing.simulate_clock(timing.k_batch_async(2), law, 2, 3)
    np.testing.assert_allclose(found.time, [2.0, 3.0, 5.0])
    np.testing.assert_array_equal(found.worker, [[0, 0], [0, 1], [0, 0]])
    # Worker 0 reads 0 after its first; its second is the K-th, and reads 1.
    np.testing.assert_array_equal(found.staleness, [[0, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize(("k", "wanted"), [(1, 0.122), (4, 0.274), (8, 0.426)])
def test_share_of_fresh_gradients(k, wanted):
    protocol = timing.k_batch_async(k)
    found = timing.simulate_clock(protocol, timing.exponential(1.0), 8, 20_000)
    assert abs(np.mean(np.asarray(found.staleness) == 0) - wanted) < 0.01
