"""Periodic: what happens every so many steps, on all workers in the same one."""

from collections.abc import Callable
from typing import Any

import jax

from jaxdist import _traffic, _tree


def run_every(
    period: int, count: jax.Array, function: Callable[[Any], Any], updates: Any
) -> Any:
    """Return ``function(updates)`` in every ``period``-th step, else the updates.

    Args:
      period: Optimizer steps, at least 1.
      count: Of this step, from 1; int32, shape (). All workers must count alike, since
        ``function`` may communicate: then all of them do, or none does.
      function: Keeps structure, shapes, dtypes and manual axis types.
      updates: What to change, or to pass on.
    """
    with _traffic.every(period):
        if period == 1:
            return function(updates)

        def change(updates):
            # Containers between the optimizer and its state may hold mappings where
            # the function returns named tuples; branches must return the same.
            return _tree.arrange_like(updates, function(updates))

        return jax.lax.cond(count % period == 0, change, lambda u: u, updates)
