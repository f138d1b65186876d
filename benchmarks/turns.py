"""Turns: the time of a step of several recipes, measured one after the other.

What else the machine does in a second then hits all of them alike.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

Recipe = tuple[Callable[..., Any], Callable[..., Any]]  # init, step


def median_seconds(
    recipes: Mapping[str, Recipe], params: Any, batch: Any, rounds: int, steps: int
) -> dict[str, float]:
    """Return the median time of a step of each recipe.

    Args:
      recipes: ``(init, step)`` by name.
      params: What each begins with.
      batch: What each step takes.
      rounds: How often each has its turn; the first time compiles, and is not timed.
      steps: How many steps a turn takes.
    """
    states = {name: init(params) for name, (init, _) in recipes.items()}
    times: dict[str, list[float]] = {name: [] for name in recipes}
    for turn in range(rounds):
        for name, (_, step) in recipes.items():
            state, start = states[name], time.perf_counter()
            for _ in range(steps):
                state, _ = step(state, batch)
            jax.block_until_ready(state)
            states[name] = state
            if turn:
                times[name].append((time.perf_counter() - start) / steps)
    return {name: statistics.median(found) for name, found in times.items()}
