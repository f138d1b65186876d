"""K-async: who has not finished goes on with what it has."""

import numpy as np
import pytest

from jaxdist import timing


def test_nobody_is_cancelled():
    law = timing.trace([[1.0, 5.0], [2.0, 9.0], [4.0, 1.5]])
    found = timing.simulate_clock(timing.k_async(2), law, 3, 2)
    np.testing.assert_allclose(found.time, [2.0, 7.0])
    np.testing.assert_array_equal(found.worker, [[0, 1], [0, 2]])
    np.testing.assert_array_equal(found.staleness, [[0, 0], [0, 1]])


@pytest.mark.parametrize(
    ("law", "wanted"),
    [
        (timing.exponential(1.0), 0.4994),
        (timing.shifted_exponential(1.0, 1.0), 0.2545),
        (timing.pareto(2.0, 1.0), 0.3549),
    ],
    ids=repr,
)
def test_share_of_fresh_gradients(law, wanted):
    found = timing.simulate_clock(timing.k_async(4), law, 8, 20_000)
    assert abs(np.mean(np.asarray(found.staleness) == 0) - wanted) < 0.01


def test_formulas_are_refused_where_there_are_none():
    law = timing.pareto(2.0, 1.0)
    assert timing.expected_step_time(timing.k_async(1), 8, law) == 2.0 / 8
    with pytest.raises(ValueError, match=r"k_async\(4\) with the law pareto.*Simulate"):
        timing.expected_step_time(timing.k_async(4), 8, law)
