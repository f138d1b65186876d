"""Steps wait as long as their last message is late, and no less than links carry."""

import math

import pytest

import jaxdist as jd
from jaxdist import _traffic
from jaxdist.planning import _candidate, _link, _planned_step

TX = jd.aggregate("data")


def step(messages, bandwidth=10.0, latency=0.0, seconds=1.0, **options):
    """Return a step of one second with these messages over one link."""
    return _planned_step.PlannedStep(
        "one",
        _candidate.Candidate(TX, **options),
        seconds,
        0.5,
        tuple(messages),
        {"data": _link.Link(2, bandwidth, latency)},
    )


def message(nbytes, bucket=0, per_step=1.0, axis="data"):
    return _traffic.Message("scatter", nbytes, axis, per_step, bucket)


def test_what_is_sent_is_waited_for():
    planned = step([message(20.0), message(10.0)])
    assert planned.nbytes == 30
    assert planned.seconds == pytest.approx(4.0)
    assert planned.waiting == pytest.approx(0.75)


def test_what_is_sent_now_and_then_counts_in_part():
    assert step([message(20.0, per_step=0.25)]).seconds == pytest.approx(1.5)


def test_buckets_travel_during_the_backward_pass():
    """Two buckets: the first is ready at 0.75, and is there before the second is."""
    assert step([message(2.0), message(2.0, bucket=1)]).seconds == pytest.approx(1.2)
    # A slow link is busy from the first on.
    slow = step([message(20.0), message(20.0, bucket=1)])
    assert slow.seconds == pytest.approx(0.75 + 4.0)


def test_rounds_share_an_exchange_among_their_steps():
    planned = step([message(40.0)], local_steps=8)
    assert planned.nbytes == 5
    assert planned.seconds == pytest.approx((8 + 4) / 8)


def test_an_overlap_hides_what_the_link_can_carry():
    assert step([message(40.0)], local_steps=8, overlap=4).seconds == 1.0
    # Two steps' work for the link in each step: it is the link that counts.
    assert step([message(20.0)], overlap=5).seconds == pytest.approx(2.0)


def test_each_fragment_has_its_own_latency():
    whole = step([message(40.0)], latency=0.5, local_steps=8)
    parts = step([message(40.0)], latency=0.5, local_steps=8, fragments=4)
    assert whole.seconds == pytest.approx((8 + 4.5) / 8)
    assert parts.seconds == pytest.approx((8 + 4 + 4 * 0.5) / 8)


def test_the_least_bandwidth_is_that_of_the_share():
    planned = step([message(20.0)], bandwidth=3.0)
    bandwidth = planned.min_bandwidth(0.5)
    assert bandwidth == pytest.approx(20.0)
    assert step([message(20.0)], bandwidth=bandwidth).waiting == pytest.approx(0.5)
    assert step([]).min_bandwidth() == 0
    assert step([message(1.0)], latency=5.0).min_bandwidth() == math.inf
    with pytest.raises(ValueError, match=r"`busy` must lie in \(0, 1\), got 1.0"):
        planned.min_bandwidth(1.0)


def test_break_even_is_where_both_take_as_long():
    dense = step([message(40.0)])
    slower = step([message(10.0)], seconds=1.5)
    bandwidth = slower.break_even(dense)
    assert bandwidth == pytest.approx(30 / 0.5)
    assert slower.break_even(slower) == 0.0
    assert step([message(1.0)]).break_even(dense) == math.inf


def test_a_message_over_two_axes_goes_at_the_pace_of_the_slower():
    links = {"a": _link.Link(2, 10.0, 1.0, "tree"), "b": _link.Link(4, 5.0)}
    both = _planned_step._link_of(message(1.0, axis="a,b"), links)
    assert both == _link.Link(8, 5.0, 1.0, "ring")
