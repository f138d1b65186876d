"""Timing for both sides; imported by the environment of either."""

import time

SIZE = 10_000_000


def interleaved(functions: dict, rounds: int) -> dict:
    """Return the best seconds of each function, all of them run in turn.

    In turn, so that what else the machine does in one second hits all alike; each some
    times, because the first pays for memory that the one before gave back.
    """
    best = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            for _ in range(3):
                start = time.perf_counter()
                function()
                best[name] = min(best[name], time.perf_counter() - start)
    return best
