"""The loop of one host, the same for all libraries: train, and measure.

Needs NumPy only, since it is imported in the environments of all of them.
"""

import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.network import problem

INTERFACE = "eth0"
Step = Callable[[np.ndarray, np.ndarray], float]  # images, labels -> loss, all done
Correct = Callable[[np.ndarray, np.ndarray], int]  # images, labels -> how many right


class Counters(NamedTuple):
    """What the kernel counted at an interface."""

    sent_bytes: int
    sent_packets: int
    received_bytes: int
    received_packets: int

    def minus(self, earlier: "Counters") -> "Counters":
        """Return what was counted since then."""
        return Counters(*(a - b for a, b in zip(self, earlier, strict=True)))


def counters(interface: str, process: int | str = "self") -> Counters:
    """Read what the kernel counted at an interface of a process' namespace."""
    table = pathlib.Path(f"/proc/{process}/net/dev").read_text()
    for line in table.splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == interface:
            received, sent = numbers.split()[:2], numbers.split()[8:10]
            return Counters(*map(int, [*sent, *received]))
    raise ValueError(f"There is no interface {interface!r} in:\n{table}")


class Data(NamedTuple):
    """What one host sees."""

    images: np.ndarray  # [steps, batch_size / hosts, height, width, channels], uint8
    labels: np.ndarray  # [steps, batch_size / hosts], int32
    test_images: np.ndarray
    test_labels: np.ndarray


def load(job: problem.Job, folder: pathlib.Path, index: int) -> Data:
    """Read this host's part of everything."""
    with np.load(folder / "data.npz") as stored:
        rows = problem.batch_indices(len(stored["train_labels"]), job)
        mine = problem.share(rows.T, index, job.hosts).T
        test = (stored[f"test_{x}"][: job.test_images] for x in ("images", "labels"))
        return Data(
            stored["train_images"][mine],
            stored["train_labels"][mine],
            *(problem.share(x, index, job.hosts) for x in test),
        )


def keep_to_own_core(index: int) -> int:
    """Give this host one core, which it may share; return how many cores there are."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    return len(cores)


class Gate:
    """Where the hosts wait, before each phase, for the links to be as they should."""

    def __init__(self, folder: pathlib.Path):
        """Keep its signs in this folder."""
        self._folder = folder

    def wait(self, phase: int, index: int) -> None:
        """Say that this host is ready, and wait until the phase may begin."""
        (self._folder / f"ready-{phase}-{index}").touch()
        while not self._is_open(phase).exists():
            time.sleep(0.01)

    def all_ready(self, phase: int, num_hosts: int) -> bool:
        """Whether all hosts wait for this phase."""
        paths = (self._folder / f"ready-{phase}-{i}" for i in range(num_hosts))
        return all(path.exists() for path in paths)

    def open(self, phase: int) -> None:
        """Let the phase begin."""
        self._is_open(phase).touch()

    def _is_open(self, phase):
        return self._folder / f"open-{phase}"


class Worker(NamedTuple):
    """How a library does what every host does."""

    step: Step  # with local steps, all of them and the exchange: [steps, batch, ...]
    correct: Correct


def run(
    job: problem.Job, folder: pathlib.Path, index: int, data: Data, worker: Worker
) -> list[dict]:
    """Train, and return what was measured in each phase, ready for JSON."""
    gate, batches = Gate(folder), zip(data.images, data.labels, strict=True)
    found = []
    for i, phase in enumerate(job.phases):
        gate.wait(i, index)
        found.append(run_phase(phase, batches, data, worker, job.local_steps))
    return found


def run_phase(
    phase: problem.Phase,
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    data: Data,
    worker: Worker,
    local_steps: int = 1,
) -> dict:
    """Train for the steps of a phase; local ones take equal shares of their time."""
    seconds, cpu_seconds, losses, right = [], [], [], []
    start = counters(INTERFACE)
    for count in range(0, phase.steps, local_steps):
        images, labels = _next_batch(batches, local_steps)
        if count == phase.warm_up:
            start = counters(INTERFACE)
        begin, cpu_begin = time.perf_counter(), time.process_time()
        loss = worker.step(problem.as_floats(images), labels)
        share = 1 / local_steps
        seconds += [share * (time.perf_counter() - begin)] * local_steps
        cpu_seconds += [share * (time.process_time() - cpu_begin)] * local_steps
        losses += [loss] * local_steps
        done = count + local_steps
        if phase.evaluate_every and done % phase.evaluate_every == 0:
            images = problem.as_floats(data.test_images)
            right.append([done, worker.correct(images, data.test_labels)])
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "losses": losses,
        "correct": right,
        "tested": len(data.test_labels),
        "counters": counters(INTERFACE).minus(start)._asdict(),
    }


def _next_batch(batches, local_steps):
    """Return the next batch, or those of all local steps on top of each other."""
    if local_steps == 1:
        return next(batches)
    rows = zip(*itertools.islice(batches, local_steps), strict=True)
    return tuple(map(np.stack, rows))


def save(result: dict, folder: pathlib.Path, index: int) -> None:
    """Write what this host measured where the parent looks for it."""
    (folder / f"host{index}.json").write_text(json.dumps(result))
