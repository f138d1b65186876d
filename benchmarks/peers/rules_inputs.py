"""Inputs and timing of rules; imported by the environment of either side."""

import time

import numpy as np

SECONDS = 15  # after which a rule is not measured again
ROUNDS = 5  # at least, unless they take longer than that
ENOUGH = 0.5  # seconds of rounds: a call of a fraction of a millisecond needs many


def rows(num_workers: int, num_byzantine: int, size: int) -> np.ndarray:
    """Return normal numbers, the last rows times 3."""
    rng = np.random.default_rng(0)
    found = rng.standard_normal((num_workers, size), dtype=np.float32)
    found[num_workers - num_byzantine :] *= 3
    return found


def measured(function, argument) -> dict:
    """Return the least processor time of a few calls, and what the first returned."""
    first = np.asarray(function(argument)).reshape(-1)
    best, rounds, start = float("inf"), 0, time.perf_counter()
    while rounds < ROUNDS or time.perf_counter() - start < ENOUGH:
        begin = time.process_time()
        np.asarray(function(argument))
        best = min(best, time.process_time() - begin)
        rounds += 1
        if time.perf_counter() - start > SECONDS:
            break
    return {"seconds": best, "head": [float(x) for x in first[:100]]}
