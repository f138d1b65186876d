"""Protocols with their oracles, and recorded times."""

import numpy as np
import pytest

from jaxdist import timing
from tests.timing import heap_oracle

# Protocol, what the heap does for it, its number, number of workers.
CASES = [
    ("k_sync", 3, 5),
    ("k_sync", 1, 7),
    ("k_sync", 8, 8),
    ("k_async", 1, 5),
    ("k_async", 3, 5),
    ("k_async", 8, 8),
    ("k_async", 10, 40),
    ("k_batch_sync", 1, 5),
    ("k_batch_sync", 3, 5),
    ("k_batch_sync", 9, 5),
    ("k_batch_async", 1, 5),
    ("k_batch_async", 3, 5),
    ("k_batch_async", 7, 5),
    ("k_batch_async", 4, 40),
    ("ringmaster", 1, 5),
    ("ringmaster", 4, 8),
    ("ringmaster", 20, 40),
]
NUM_UPDATES = 200


def every_case(function):
    """Run a test with every protocol, its oracle and recorded times."""
    return pytest.mark.parametrize(
        ("name", "number", "num_workers"),
        CASES,
        ids=[f"{name}({number})-{workers}" for name, number, workers in CASES],
    )(function)


def recorded_times(num_workers, length=37, seed=0):
    """Return times of workers that are not equally fast, float32."""
    rng = np.random.default_rng(seed)
    speeds = rng.uniform(0.5, 3.0, (num_workers, 1))
    return (speeds * rng.exponential(1.0, (num_workers, length))).astype(np.float32)


def oracle_updates(name, number, times, params=0.0, apply=lambda params, _: params):
    """Return what the heap finds."""
    race = heap_oracle.Race(times, params, apply)
    advance = getattr(heap_oracle, name)
    return [advance(race, number) for _ in range(NUM_UPDATES)]


def protocol_of(name, number):
    """Return the protocol of a case."""
    return getattr(timing, name)(number)
