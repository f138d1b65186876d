"""K-batch-sync: who is fast brings several mini-batches of the same parameters."""

import numpy as np

from jaxdist import timing


def test_the_fast_come_again_and_all_begin_again():
    law = timing.trace([[1.0], [2.5]])
    found = timing.simulate_clock(timing.k_batch_sync(5), law, 2, 2)
    np.testing.assert_allclose(found.time, [4.0, 8.0])
    np.testing.assert_array_equal(found.worker, [[0, 0, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(found.staleness, 0)


def test_one_mini_batch_is_k_sync_of_one():
    law = timing.pareto(3.0, 1.0)
    both = [
        timing.expected_step_time(protocol, 8, law)
        for protocol in (timing.k_batch_sync(1), timing.k_sync(1))
    ]
    assert both[0] == both[1]
