"""The clock alone: against a heap of events, against formulas, and over a long time."""

import jax
import numpy as np
import pytest

from jaxdist import timing
from tests.timing import cases


@cases.every_case
def test_agrees_with_a_heap_of_events(name, number, num_workers):
    times = cases.recorded_times(num_workers)
    found = timing.simulate_clock(
        cases.protocol_of(name, number),
        timing.trace(times),
        num_workers,
        cases.NUM_UPDATES,
    )
    wanted = cases.oracle_updates(name, number, times)
    np.testing.assert_allclose(found.time, [u.time for u in wanted], rtol=1e-6)
    workers = [[push.worker for push in u.pushes] for u in wanted]
    np.testing.assert_array_equal(found.worker, workers)
    ages = [[j - push.version for push in u.pushes] for j, u in enumerate(wanted)]
    np.testing.assert_array_equal(found.staleness, ages)


LAWS = [
    timing.exponential(1.0),
    timing.shifted_exponential(1.0, 1.0),
    timing.pareto(3.0, 1.0),  # with a variance, so that a mean can be measured
]


def _mean_step(protocol, law, num_updates, num_workers=8):
    found = timing.simulate_clock(protocol, law, num_workers, num_updates)
    return float(found.time[-1]) / num_updates, float(np.mean(found.staleness))


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("k", [1, 4, 8])
@pytest.mark.parametrize("kind", ["k_sync", "k_async", "k_batch_async"])
def test_means_are_those_of_the_formulas(kind, k, law):
    """The standard error of the means is 0.5 % and less; the key is fixed."""
    protocol = cases.protocol_of(kind, k)
    seconds, staleness = _mean_step(protocol, law, 40_000 if k == 1 else 10_000)
    wanted = timing.expected_staleness(protocol, 8)
    assert abs(staleness - wanted) <= 0.005 * max(wanted, 1e-9)
    try:
        wanted = timing.expected_step_time(protocol, 8, law)
    except ValueError:
        # New mini-batches take longer than used ones: this is an upper bound.
        wanted = timing.expected_step_time(timing.k_sync(k), 8, law)
        assert seconds <= wanted
    else:
        assert abs(seconds - wanted) <= 0.01 * wanted


@pytest.mark.parametrize(
    ("law", "k", "wanted"),
    [
        (timing.shifted_exponential(1.0, 1.0), 4, 1.6303),
        (timing.shifted_exponential(1.0, 1.0), 8, 2.6702),
        (timing.pareto(2.0, 1.0), 4, 1.3900),
        (timing.exponential(1.0), 4, 0.5),
    ],
    ids=repr,
)
def test_steps_of_k_batch_sync_take_what_was_measured_elsewhere(law, k, wanted):
    seconds, _ = _mean_step(timing.k_batch_sync(k), law, 60_000)
    assert abs(seconds - wanted) <= 0.01 * wanted


def test_staleness_of_asynchronous_sgd_is_geometric():
    found = timing.simulate_clock(timing.k_async(1), timing.exponential(), 8, 60_000)
    shares = np.bincount(np.ravel(found.staleness), minlength=4)[:4] / 60_000
    wanted = (1 / 8) * (7 / 8) ** np.arange(4)
    np.testing.assert_allclose(shares, wanted, atol=6 * np.sqrt(0.125 / 60_000))


def test_constant_times_are_always_equally_stale():
    found = timing.simulate_clock(timing.k_async(1), timing.constant(1.0), 6, 60)
    assert set(np.ravel(found.staleness)[6:]) == {5}


def test_the_total_loses_no_digits_in_200_000_events():
    times = cases.recorded_times(8, length=1009)
    found = timing.simulate_clock(timing.k_async(1), timing.trace(times), 8, 200_000)
    # Each worker's own times add up, whoever else arrives.
    totals = np.zeros(8)
    arrived = np.bincount(np.ravel(found.worker), minlength=8)
    for worker, number in enumerate(arrived):
        row = np.resize(times[worker].astype(np.float64), number)
        totals[worker] = row.sum()
    np.testing.assert_allclose(found.time[-1], totals.max(), rtol=1e-6)


def test_workers_and_draws_are_independent():
    """The same times, whatever the others do: a worker's draws have keys of its own."""
    law = timing.exponential(1.0)
    alone = timing.simulate_clock(timing.k_async(1), law, 1, 100).time
    found = timing.simulate_clock(timing.k_async(1), law, 5, 600)
    own = np.asarray(found.time)[np.ravel(found.worker) == 0][:100]
    np.testing.assert_allclose(own, alone[: own.size], rtol=1e-5)
    draws = np.diff(np.asarray(alone))
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.4


def test_keys_change_times_and_nothing_else():
    law = timing.exponential(1.0)
    first, again, other = (
        timing.simulate_clock(timing.k_async(2), law, 4, 20, key).time
        for key in (0, jax.random.key(0), 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.any(np.asarray(first) == np.asarray(other))


def test_a_worker_that_is_gone_does_not_stop_the_clock():
    times = np.array([[1.0, np.inf], [1.5, 1.5]])
    found = timing.simulate_clock(timing.k_async(1), timing.trace(times), 2, 6)
    np.testing.assert_allclose(found.time, [1, 1.5, 3, 4.5, 6, 7.5])
    stuck = timing.simulate_clock(timing.k_async(2), timing.trace(times), 2, 3).time
    np.testing.assert_array_equal(stuck, [1.5, np.inf, np.inf])


def test_a_law_of_ones_own_is_one_line():
    found = timing.simulate_clock(
        timing.k_sync(3), lambda key, worker, draw: worker + 1, 3, 2
    )
    np.testing.assert_allclose(found.time, [3.0, 6.0])


def test_a_protocol_that_needs_losses_is_refused():
    protocol = timing.adasync(timing.k_async, 1, 10.0)
    with pytest.raises(ValueError, match="`protocol` adasync.* chooses K by the loss"):
        timing.simulate_clock(protocol, timing.exponential(), 4, 5)


def test_a_protocol_must_fit_the_workers():
    with pytest.raises(ValueError, match=r"`k` of k_sync\(5\) must lie in \[1, 4\]"):
        timing.simulate_clock(timing.k_sync(5), timing.exponential(), 4, 5)
