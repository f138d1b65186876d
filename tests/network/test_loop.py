"""The loop of one host, with a library that only counts."""

import os

import numpy as np
import pytest

from benchmarks.network import loop, problem


def test_counters_are_read_and_subtracted():
    first, later = loop.counters("lo"), loop.counters("lo", os.getpid())
    assert all(number >= 0 for number in later.minus(first))


def test_an_unknown_interface_says_so():
    with pytest.raises(ValueError, match="no interface 'none0'"):
        loop.counters("none0")


def test_a_gate_opens_when_all_hosts_are_ready(tmp_path):
    gate = loop.Gate(tmp_path)
    gate.open(0)
    gate.wait(0, 0)
    assert not gate.all_ready(0, 2)
    gate.wait(0, 1)
    assert gate.all_ready(0, 2) and not gate.all_ready(1, 2)


def test_each_host_loads_its_part(tmp_path):
    job = problem.Job("jax", "dense", batch_size=4, test_images=6)
    labels = np.arange(40, dtype=np.int32)
    np.savez(
        tmp_path / "data.npz",
        train_images=labels.astype(np.uint8)[:, None], train_labels=labels,
        test_images=labels.astype(np.uint8)[:, None], test_labels=labels,
    )  # fmt: skip
    parts = [loop.load(job, tmp_path, index) for index in range(2)]
    both = np.concatenate([part.labels for part in parts], axis=1)
    np.testing.assert_array_equal(both, problem.batch_indices(40, job))
    for part in parts:
        np.testing.assert_array_equal(part.images[..., 0], part.labels)
    tested = np.concatenate([part.test_labels for part in parts])
    np.testing.assert_array_equal(tested, np.arange(6))


def test_every_phase_goes_on_where_the_last_one_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "INTERFACE", "lo")
    phases = (problem.Phase("1gbit", 3, 1, evaluate_every=2), problem.Phase(None, 2, 0))
    job = problem.Job("jax", "dense", phases=phases)
    labels = np.arange(5)[:, None]
    data = loop.Data(labels.astype(np.uint8) * 51, labels, labels[0], labels[0])
    for phase in range(2):
        loop.Gate(tmp_path).open(phase)
    worker = loop.Worker(lambda images, labels: float(images[0] + labels[0]), min_of)
    found = loop.run(job, tmp_path, 0, data, worker)
    np.testing.assert_allclose(found[0]["losses"], [0, 1.2, 2.4], rtol=1e-6)
    np.testing.assert_allclose(found[1]["losses"], [3.6, 4.8], rtol=1e-6)
    assert [phase["correct"] for phase in found] == [[[2, 0]], []]
    assert len(found[0]["seconds"]) == 3
    loop.save({"phases": found}, tmp_path, 0)  # as JSON
    assert (tmp_path / "host0.json").exists()


def test_a_round_takes_several_batches_and_shares_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "INTERFACE", "lo")
    phases = (problem.Phase(None, 6, warm_up=2, evaluate_every=4),)
    job = problem.Job("jax", "local SGD", local_steps=2, phases=phases)
    labels = np.arange(6)[:, None]
    data = loop.Data(labels.astype(np.uint8) * 51, labels, labels[0], labels[0])
    loop.Gate(tmp_path).open(0)
    seen = []

    def step(images, labels):
        seen.append(labels.ravel().tolist())
        return float(images.mean())

    (found,) = loop.run(job, tmp_path, 0, data, loop.Worker(step, min_of))
    assert seen == [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_allclose(found["losses"], [0.1, 0.1, 0.5, 0.5, 0.9, 0.9], 1e-6)
    assert found["correct"] == [[4, 0]]
    assert len(found["seconds"]) == 6 and len(set(found["seconds"])) == 3


def min_of(images, labels):
    return int(min(labels))
