"""Running a job: its limits, its records, and two hosts where there can be some."""

import os
import subprocess

import numpy as np
import pytest

from benchmarks.network import hosts, problem, report, run
from examples import datasets
from tests.network.marks import needs_hosts

pytestmark = pytest.mark.xdist_group("processes")


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def sleeper(path):
    """Return a command that notes its process and does not end."""
    return ["sh", "-c", 'echo $$ > "$0"; exec sleep 600', str(path)]


def test_hosts_that_do_not_end_are_ended(tmp_path):
    paths = [tmp_path / "first", tmp_path / "second"]
    with pytest.raises(RuntimeError, match="did not end within 3 s"):
        run.launch([sleeper(path) for path in paths], tmp_path, run.Limits(seconds=3))
    assert not any(is_running(int(path.read_text())) for path in paths)


def test_one_that_fails_ends_the_others_and_shows_its_log(tmp_path):
    path = tmp_path / "first"
    fail = 'until [ -s "$0" ]; do sleep 0.1; done; echo this went wrong; exit 7'
    commands = [sleeper(path), ["sh", "-c", fail, str(path)]]
    with pytest.raises(RuntimeError, match="Host 1 ended with code 7") as caught:
        run.launch(commands, tmp_path, run.Limits())
    assert "this went wrong" in str(caught.value)
    assert not is_running(int(path.read_text()))


def test_one_that_sends_too_much_is_ended(monkeypatch):
    monkeypatch.setattr(hosts, "INTERFACE", "lo")
    with subprocess.Popen(["sleep", "60"]) as process:
        run.Limits(gigabytes=1e6).check([process])
        with pytest.raises(RuntimeError, match="sent more than -1 GB"):
            run.Limits(gigabytes=-1).check([process])
        process.kill()


def test_a_phase_is_read_from_its_words():
    assert run.phase_of("none:100:10") == problem.Phase(None, 100, evaluate_every=10)
    assert run.phase_of("1gbit:8") == problem.Phase("1gbit", 8)
    with pytest.raises(ValueError, match="`rate`"):
        run.phase_of("fast:8")


def test_a_step_is_over_when_it_is_over_on_all_hosts():
    def host(seconds, right, sent):
        return {
            "seconds": seconds, "losses": [sent, 2.0 * sent], "correct": [[2, right]],
            "cpu_seconds": [0.0, seconds[1] / 2], "tested": 10,
            "counters": {"sent_bytes": sent, "sent_packets": 1},
        }  # fmt: skip

    phase = problem.Phase("1gbit", 2, 1, 2)
    record = run.merge_phase(phase, [host([9, 0.5], 6, 10), host([1, 0.7], 9, 30)])
    assert (record["median_seconds"], record["median_cpu_seconds"]) == (0.7, 0.35)
    assert record["losses"] == [20.0, 40.0]
    assert record["accuracies"] == [[2, 0.75]]
    assert (record["sent_bytes"], record["header_bytes"]) == (20, 66)
    assert record["rate"] == "1gbit"


def test_digits_do_where_fashion_mnist_is_absent(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(
        datasets.HOW_TO_GET, "fashion-mnist", (str(tmp_path), "a command")
    )
    assert run.load_dataset(None)[0] == "digits"
    assert "a command" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run.load_dataset(str(tmp_path))


@needs_hosts
def test_two_hosts_send_what_the_report_says():
    phases = (problem.Phase(None, 6, 2, 3), problem.Phase("1gbit", 4, 1))
    job = problem.Job("jax", "signs both ways", "cnn", phases=phases)
    dataset = datasets.load("digits")
    record = run.run(job, dataset, run.interpreters(None), seconds=400)
    first, second = record["phases"]
    assert [len(phase["losses"]) for phase in (first, second)] == [6, 4]
    assert [step for step, _ in first["accuracies"]] == [3, 6]
    assert np.isfinite(first["losses"]).all()
    found = report.Run(record, None)
    assert report.excess(found) == 0
    assert found.nbytes > record["reported_bytes"] > 10_000
