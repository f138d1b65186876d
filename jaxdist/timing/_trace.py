"""Trace: times that were recorded, read round and round."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdist.timing import _law


def trace(times: Any) -> _law.Law:
    """Return recorded times, from which nothing is drawn.

    Args:
      times: Seconds ``[W, T]``, at least 0: draw n of worker i takes
        ``times[i, n % T]``. inf never ends: the worker is gone from then on.

    Returns:
      A law for W workers.

    Raises:
      ValueError: If ``times`` are no numbers ``[W, T]`` of at least 0.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.trace([[1.0, 1.0], [3.0, 5.0]])
      >>> protocol = jaxdist.timing.k_sync(2)
      >>> print(jaxdist.timing.simulate_clock(protocol, law, 2, 4).time)
      [ 3.  8. 11. 16.]
    """
    rows = nonnegative_array("times", times, ndim=2)
    num_workers, length = rows.shape

    def sample(key, worker, draw):
        del key
        return jnp.asarray(rows, jnp.float32)[worker, draw % length]

    def check(wanted):
        if wanted != num_workers:
            raise ValueError(
                f"`times` of trace must have a row for each of {wanted} workers, got "
                f"{num_workers} rows."
            )

    return _law.Law(sample, f"trace({num_workers} x {length})", check=check)


def nonnegative_array(name: str, value: Any, ndim: int) -> np.ndarray:
    """Return float64 numbers of this rank, or raise."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != ndim or not array.size or not np.all(array >= 0):
        axes = "[W, T]" if ndim == 2 else "[W]"
        raise ValueError(
            f"`{name}` must be numbers {axes} of at least 0, got {value!r}."
        )
    return array
