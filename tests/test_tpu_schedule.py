"""Schedules for a TPU, compiled ahead of time where its compiler is installed."""

import functools
import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason='the TPU compiler is not installed: pip install "jaxdist[tpu-aot]"',
    ),
]


@functools.cache
def facts():
    """Return what the compiler says, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.tpu_schedule"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_combining_first_sends_before_the_first_matmul():
    events = facts()["combine_then_adapt"]
    assert events.count("start") == events.count("done") == 2
    assert max(i for i, e in enumerate(events) if e == "start") < events.index("matmul")
    assert events.index("matmul") < events.index("done")


def test_adapting_first_sends_after_the_gradient():
    events = facts()["adapt_then_combine"]
    assert events.index("matmul") < events.index("start")


def test_the_first_bucket_leaves_before_the_backward_pass_ends():
    whole, parts = (facts()["buckets"][number] for number in ("1", "3"))
    assert whole.count("all-to-all") == 1 and parts.count("all-to-all") == 3
    before = [events.index("all-to-all") for events in (whole, parts)]
    assert before[0] >= 16  # of 17 products of six layers, there and back
    assert before[1] <= before[0] - 6


def test_no_message_in_the_local_steps_of_a_round():
    found = facts()["round"]
    assert found["loops"] >= 1
    assert found["inside"] == []
    assert found["all"] >= 1


def exchanges(events):
    """Return what happens from each start to its end."""
    starts = [i for i, event in enumerate(events) if event == "start"]
    return [events[i + 1 : events.index("done", i)] for i in starts]


@pytest.mark.parametrize("route", ["auto", "gather", "scatter"])
def test_the_exchange_of_a_fragment_goes_on_while_workers_step(route):
    """Two fragments: each message starts before three local steps, and ends after."""
    events = facts()[f"stream {route}"]
    assert events.count("loop") == 4
    assert [part.count("loop") for part in exchanges(events)] == [1, 1]
    # Both ways of the route scatter are two messages, of which the second overlaps.
    assert events.count("all-to-all") == (0 if route == "gather" else 2)


def test_an_all_reduce_would_not_overlap():
    events = facts()["stream psum"]
    assert "start" not in events
    assert events.count("loop") == 4


@pytest.mark.parametrize("num_inside", ["2", "4", "8"])
def test_what_leaves_a_pod_is_what_the_report_says(num_inside):
    sent, reported = facts()["pods"][num_inside]
    assert sent == reported > 0
