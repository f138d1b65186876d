"""Slowed: workers that are not equally fast."""

from typing import Any

import jax.numpy as jnp

from jaxdist.timing import _law, _trace


def slowed(law: _law.Law | _law.LawFunction, factors: Any) -> _law.Law:
    """Return the times of another law, each worker's multiplied by its own factor.

    Args:
      law: Of all workers.
      factors: ``[W]``, at least 0, no unit; inf is a worker that never finishes.

    Returns:
      A law for W workers.

    Raises:
      TypeError: If ``law`` is no function.
      ValueError: If ``factors`` are no numbers ``[W]`` of at least 0.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.slowed(jaxdist.timing.constant(1.0), [1.0, 1.0, 5.0])
      >>> protocol = jaxdist.timing.k_async(1)
      >>> print(jaxdist.timing.simulate_clock(protocol, law, 3, 6).worker.ravel())
      [0 1 0 1 0 1]
    """
    law = _law.checked_law("law", law)
    row = _trace.nonnegative_array("factors", factors, ndim=1)

    def sample(key, worker, draw):
        return jnp.asarray(row, jnp.float32)[worker] * law(key, worker, draw)

    def check(wanted):
        law.check(wanted)
        if wanted != row.size:
            raise ValueError(
                f"`factors` of slowed must have a number for each of {wanted} workers, "
                f"got {row.size}."
            )

    return _law.Law(sample, f"slowed({law.name})", check=check)
