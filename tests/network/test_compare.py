"""The comparison: what it measures, and that it goes on where it was interrupted."""

import argparse
import json
import sys

import pytest

from benchmarks.network import compare, run


def test_no_job_is_there_twice_and_all_are_of_known_methods():
    keys = [compare.key_of(job) for job in compare.jobs()]
    assert len(keys) == len(set(keys))
    known = {*compare.pairs(compare.METHODS), *compare.pairs(compare.ROUNDS)}
    for job in compare.jobs() + compare.demo_jobs():
        assert (job.library, job.method) in known
        is_round = (job.library, job.method) in compare.pairs(compare.ROUNDS)
        assert job.local_steps == (compare.LOCAL_STEPS if is_round else 1)


@pytest.fixture
def options(monkeypatch):
    """Stand in for the hosts: every job is done at once, but a dense one of torch."""
    done = []

    def pretend(job, dataset, pythons, seconds, gigabytes):
        if (job.library, job.method) == ("torch", "dense"):
            raise RuntimeError("Host 1 ended with code -6.")
        done.append(compare.key_of(job))
        names = ("library", "method", "model", "hosts", "alone")
        return dict(zip(names, done[-1], strict=True))

    monkeypatch.setattr(run, "run", pretend)
    monkeypatch.setattr(run, "load_dataset", lambda directory: ("digits", None))
    options = argparse.Namespace(
        torch=sys.executable, data_dir=None, fresh=False, only=""
    )
    return options, done


def test_a_job_that_fails_is_named_and_tried_again(options, tmp_path, capsys):
    options, done = options
    jobs, path = compare.demo_jobs(), tmp_path / "new" / "found.json"
    found = compare.measure(jobs, path, options)
    assert "torch dense, cnn, 2 hosts: Host 1 ended" in capsys.readouterr().err
    assert len(found["records"]) == len(done) == len(jobs) - 1
    assert json.loads(path.read_text()) == found
    compare.measure(jobs, path, options)
    assert len(done) == len(jobs) - 1
    assert "torch dense" in capsys.readouterr().err


def test_only_some_jobs_and_what_is_there_can_be_forgotten(options, tmp_path):
    options, done = options
    jobs, path = compare.demo_jobs(), tmp_path / "found.json"
    options.only = "PowerSGD"
    assert len(compare.measure(jobs, path, options)["records"]) == 2
    options.torch, options.fresh = None, True
    assert len(compare.measure(jobs, path, options)["records"]) == 1
    assert [library for library, *_ in done] == ["jax", "torch", "jax"]
