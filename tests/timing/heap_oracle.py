"""Events in a heap of absolute float64 times: what the clock must agree with."""

import heapq
from typing import NamedTuple

import numpy as np


class Push(NamedTuple):
    """One mini-batch of an update."""

    worker: int
    version: int
    count: int  # of its worker, from 1
    visit: int  # how often this worker came before in this update
    snapshot: np.ndarray  # parameters that it was computed on


class Update(NamedTuple):
    """One update of the parameters."""

    time: float
    pushes: list[Push]  # in the order of their workers
    params: np.ndarray  # after it


class Race:
    """Workers with recorded times, and a server with parameters."""

    def __init__(self, times, params, apply):
        """Let all workers begin."""
        self.times = np.asarray(times, np.float64)
        self.params = np.asarray(params, np.float64)
        self.apply = apply  # (params, pushes) -> params
        self.updates = 0
        self.now = 0.0
        self.draws = [-1] * len(self.times)
        self.read = [None] * len(self.times)  # (version, parameters) of each worker
        self.heap = []
        for worker in range(len(self.times)):
            self.begin(worker)

    def begin(self, worker):
        """Let a worker read the parameters and begin its next mini-batch."""
        self.draws[worker] += 1
        self.read[worker] = (self.updates, self.params)
        row = self.times[worker]
        finish = self.now + row[self.draws[worker] % row.size]
        heapq.heappush(self.heap, (finish, worker))

    def restart(self):
        """Give up all that is outstanding."""
        self.heap = []
        for worker in range(len(self.times)):
            self.begin(worker)

    def finish(self, pushes):
        """Return the next mini-batch to finish; its worker is idle then."""
        self.now, worker = heapq.heappop(self.heap)
        visit = sum(push.worker == worker for push in pushes)
        version, snapshot = self.read[worker]
        return Push(worker, version, self.draws[worker] + 1, visit, snapshot)

    def update(self, pushes):
        """Update the parameters."""
        ordered = sorted(pushes, key=lambda push: (push.worker, push.visit))
        self.params = self.apply(self.params, ordered)
        self.updates += 1
        return Update(self.now, ordered, self.params)


def k_sync(race, k):
    pushes = []
    while len(pushes) < k:
        pushes.append(race.finish(pushes))
    found = race.update(pushes)
    race.restart()
    return found


def k_async(race, k):
    pushes = []
    while len(pushes) < k:
        pushes.append(race.finish(pushes))
    found = race.update(pushes)
    for push in pushes:
        race.begin(push.worker)
    return found


def k_batch_sync(race, k):
    pushes = []
    while len(pushes) < k:
        pushes.append(race.finish(pushes))
        race.begin(pushes[-1].worker)
    found = race.update(pushes)
    race.restart()
    return found


def k_batch_async(race, k):
    pushes = []
    while len(pushes) < k:
        pushes.append(race.finish(pushes))
        if len(pushes) < k:
            race.begin(pushes[-1].worker)
    found = race.update(pushes)
    race.begin(pushes[-1].worker)
    return found


def ringmaster(race, limit):
    push = race.finish([])
    while race.updates - push.version >= limit:
        race.begin(push.worker)
        push = race.finish([])
    found = race.update([push])
    race.begin(push.worker)
    return found
