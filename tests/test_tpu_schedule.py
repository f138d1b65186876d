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


def test_no_message_in_the_local_steps_of_a_round():
    found = facts()["round"]
    assert found["loops"] >= 1
    assert found["inside"] == []
    assert found["all"] >= 1
