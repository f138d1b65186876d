"""Simulate clock: who arrives when, without a gradient."""

import functools
from typing import NamedTuple

import jax

from jaxdist import _checks, _random
from jaxdist.timing import _law, _protocol


class Timeline(NamedTuple):
    """What :func:`simulate_clock` found, one row for each of n updates."""

    time: jax.Array  # float32 [n]: seconds since the start
    worker: jax.Array  # int32 [n, K]: whose mini-batches, sorted
    staleness: jax.Array  # int32 [n, K]: how many updates old each of them is


def simulate_clock(
    protocol: _protocol.Protocol,
    law: _law.Law | _law.LawFunction,
    num_workers: int,
    num_updates: int,
    key: int | jax.Array = 0,
) -> Timeline:
    """Return when the first updates come, of whom, and how stale.

    This is the clock of :func:`jaxdist.simulate_async` alone: with the same key and
    law it finds the same times, in microseconds for each mini-batch.

    Args:
      protocol: Such as :func:`k_async`.
      law: Of the time of one mini-batch.
      num_workers: W.
      num_updates: n.
      key: Seed or key of the times.

    Returns:
      A :class:`Timeline` of arrays with n rows.

    Raises:
      TypeError: If ``protocol`` or ``law`` is none.
      ValueError: If a number is below 1 or does not fit the protocol, or if the
        protocol needs a loss (:func:`adasync`).

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.exponential(mean=1.0)
      >>> protocol = jaxdist.timing.k_batch_async(4)
      >>> times = jaxdist.timing.simulate_clock(protocol, law, 8, 5000)
      >>> print(f"{times.time[-1] / 5000:.2f} {times.staleness.mean():.2f}")
      0.50 1.75
    """
    _protocol.check_protocol(protocol)
    race = _protocol.checked_race(law, num_workers)
    protocol.check(race.num_workers)
    num_updates = _checks.integer("num_updates", num_updates, 1)
    if protocol.pace is not None:
        raise ValueError(
            f"`protocol` {protocol.name} chooses K by the loss, which a clock alone "
            "does not have: use jaxdist.simulate_async, or a protocol with a fixed K."
        )
    stream = start_stream(key)
    return _run_clock(protocol, race, num_updates, stream)


def start_stream(key: int | jax.Array) -> _random.Stream:
    """Return the stream from which all times of a simulation are drawn."""
    _random.check_key(key)
    return _random.stream_of(key, "compute times")


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run_clock(protocol, race, num_updates, stream):
    def update(clock, _):
        before = clock.updates
        clock, arrivals = protocol.wait(race, clock)
        staleness = before - arrivals.version
        return clock, Timeline(clock.time, arrivals.worker, staleness)

    return jax.lax.scan(update, race.start_clock(stream), length=num_updates)[1]
