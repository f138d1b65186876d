"""Ringmaster: asynchronous SGD that ignores what is too old."""

import jax

from jaxdist import _checks
from jaxdist.timing import _clock, _protocol


def ringmaster(limit: int) -> _protocol.Protocol:
    """Update with each gradient that is less than ``limit`` updates old.

    A worker whose gradient is older reads the current parameters and begins again;
    nothing is updated.

    Args:
      limit: R, at least 1, in updates. 1 accepts only gradients of the current
        parameters.

    Returns:
      A protocol for :func:`jaxdist.simulate_async`, with one mini-batch in an update.

    Raises:
      ValueError: If ``limit`` is below 1.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.trace([[1.0], [2.5]])
      >>> protocol = jaxdist.timing.ringmaster(limit=2)
      >>> times = jaxdist.timing.simulate_clock(protocol, law, 2, 5)
      >>> print(times.time, times.worker.ravel())
      [1. 2. 3. 4. 5.] [0 0 0 0 0]

    References:
      Maranjyan, Tyurin, Richtárik, `Ringmaster ASGD: The First Asynchronous SGD with
      Optimal Time Complexity <https://arxiv.org/abs/2501.16168>`_, 2025, Algorithm 4.
    """
    limit = _checks.integer("limit", limit, 1)

    def wait(race, clock):
        def is_old(carry):
            clock, arrivals = carry
            return clock.updates - arrivals.version[0] >= limit

        def try_next(carry):
            clock, arrivals = carry
            clock = race.restart_some(clock, arrivals.worker, clock.updates)
            return _clock.first_arrivals(clock, 1)

        first = _clock.first_arrivals(clock, 1)
        clock, arrivals = jax.lax.while_loop(is_old, try_next, first)
        clock = race.restart_some(clock, arrivals.worker, clock.updates + 1)
        return _clock.next_update(clock), arrivals

    return _protocol.Protocol(
        f"ringmaster({limit})", 1, wait, is_synchronous=False, rereads=True
    )
