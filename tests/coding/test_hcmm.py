"""Loads for workers of different speed: published numbers, and that none are better."""

import numpy as np
import pytest

import jaxdist as jd
from jaxdist.coding import _hcmm


@pytest.mark.parametrize(("rate", "slowness"), [(1.0, 23.18576), (20.0, 20.30044)])
def test_seconds_per_unit(rate, slowness):
    found = _hcmm._best_waits(np.array([20.0 * rate]))[0] / rate
    assert found == pytest.approx(slowness, abs=5e-6)


def test_any_shift_is_solved():
    shift = np.logspace(-12, 12, 200)
    x = _hcmm._best_waits(shift)
    np.testing.assert_allclose(x - np.log1p(x), shift, rtol=1e-9, atol=1e-15)
    assert np.all(np.diff(x) > 0)


RATES = np.array([1.0] * 95 + [20.0] * 5)


def test_published_loads():
    plan = jd.coding.optimal_loads([20.0] * 100, RATES, 500)
    assert plan.time == pytest.approx(744.51, abs=0.01)
    np.testing.assert_allclose(plan.exact[[0, -1]], [32.11, 36.67], atol=0.005)
    np.testing.assert_array_equal(plan.loads[[0, -1]], [32, 37])
    more = jd.coding.optimal_loads([20.0] * 100, RATES, 500, 7827.0)
    assert more.time == pytest.approx(1875, rel=1e-3)


def arrived_units(loads, shifts, rates, time):
    """Return how many units have arrived at a time, on average."""
    late = np.exp(-np.maximum(rates / loads * (time - shifts * loads), 0))
    return np.sum(loads * (1 - late))


def test_no_other_loads_bring_more():
    rng = np.random.default_rng(0)
    shifts, rates = rng.uniform(0.1, 3, 12), rng.uniform(0.2, 5, 12)
    plan = jd.coding.optimal_loads(shifts, rates, 40)
    wanted = 40 * np.log(40)
    best = arrived_units(plan.exact, shifts, rates, plan.time)
    assert best == pytest.approx(wanted)
    for _ in range(200):
        other = plan.exact * rng.uniform(0.7, 1.4, 12)
        assert arrived_units(other, shifts, rates, plan.time) < best


def test_loads_are_at_least_one_and_at_most_all_units():
    plan = jd.coding.optimal_loads([1e-3, 10.0], [100.0, 0.01], 20)
    np.testing.assert_array_equal(plan.loads, [20, 1])
    plan = jd.coding.optimal_loads([1], [1], 1)
    np.testing.assert_array_equal(plan.loads, [1])


def test_arguments():
    with pytest.raises(
        ValueError, match="`rates` must be as many as `shifts`, 2, got 1"
    ):
        jd.coding.optimal_loads([1, 2], [1], 20)
    with pytest.raises(ValueError, match=r"`total` must lie in \[20, inf\), got 19"):
        jd.coding.optimal_loads([1], [1], 20, total=19)
