"""Clock: who finishes when, without anything that is computed.

Times are float32. So the clock keeps what *remains* of each mini-batch, which stays
small, and one total with a compensated sum: absolute times of finish would lose the
order of events that are close to each other once the total is large.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _random
from jaxdist.timing import _law


class Clock(NamedTuple):
    """Where W workers are in simulated time."""

    time: jax.Array  # float32, shape (): seconds since the start
    lost: jax.Array  # float32, shape (): what rounding took from `time`
    remaining: jax.Array  # float32 [W]: seconds left of each outstanding mini-batch
    version: jax.Array  # int32 [W]: updates before the parameters that each one read
    draws: jax.Array  # int32 [W]: number of the mini-batch that is outstanding, from 0
    updates: jax.Array  # int32, shape (): updates of the parameters so far
    key: _random.Stream


class Arrivals(NamedTuple):
    """The K mini-batches of one update, in the order of their workers."""

    worker: jax.Array  # int32 [K]
    version: jax.Array  # int32 [K]: updates before the parameters that were read
    count: jax.Array  # int32 [K]: number of the mini-batch of its worker, from 1
    visit: jax.Array  # int32 [K]: how often this worker arrived before in this update
    share: Any = None  # float32 [K]: factor of each; None where all have 1
    block: Any = None  # int32 [K]: of the data, where a code says which


@dataclasses.dataclass(frozen=True)
class Race:
    """W workers, and the law of their times."""

    law: _law.Law
    num_workers: int

    def draw_times(
        self, stream: _random.Stream, workers: jax.Array, draws: jax.Array
    ) -> jax.Array:
        """Return the seconds ``[n]`` of these draws; what is no time never ends."""

        def draw_one(worker, draw):
            own = jax.random.fold_in(jax.random.fold_in(stream.key, worker), draw)
            return self.law(own, worker, draw)

        times = jax.vmap(draw_one)(workers, draws)
        return jnp.where(jnp.isnan(times), jnp.inf, jnp.maximum(times, 0))

    def start_clock(self, stream: _random.Stream) -> Clock:
        """Return the clock at which all workers begin."""
        everyone = jnp.arange(self.num_workers, dtype=jnp.int32)
        nothing = jnp.zeros_like(everyone)
        remaining = self.draw_times(stream, everyone, nothing)
        zero = jnp.zeros((), jnp.float32)
        start = jnp.zeros((), jnp.int32)
        return Clock(zero, zero, remaining, nothing, nothing, start, stream)

    def restart_all(self, clock: Clock) -> Clock:
        """Let all workers begin with the parameters of the next update."""
        draws = clock.draws + 1
        everyone = jnp.arange(self.num_workers, dtype=jnp.int32)
        return clock._replace(
            remaining=self.draw_times(clock.key, everyone, draws),
            version=jnp.full_like(clock.version, clock.updates + 1),
            draws=draws,
        )

    def restart_some(
        self, clock: Clock, workers: jax.Array, version: jax.Array
    ) -> Clock:
        """Let different workers ``[n]`` begin their next mini-batch."""
        draws = clock.draws[workers] + 1
        times = self.draw_times(clock.key, workers, draws)
        return clock._replace(
            remaining=clock.remaining.at[workers].set(times),
            version=clock.version.at[workers].set(version),
            draws=clock.draws.at[workers].set(draws),
        )


def let_pass(clock: Clock, seconds: jax.Array) -> Clock:
    """Return the clock some seconds later; nobody is asked to begin again."""
    addend = seconds - clock.lost
    time = clock.time + addend
    lost = (time - clock.time) - addend
    return clock._replace(
        time=time,
        lost=jnp.where(jnp.isfinite(lost), lost, 0),
        remaining=jnp.maximum(clock.remaining - seconds, 0),
    )


def first_workers(clock: Clock, number: int) -> jax.Array:
    """Return the workers that finish first, in order of time; ties by their index."""
    if number == 1:  # no need to sort
        return jnp.argmin(clock.remaining).astype(jnp.int32)[None]
    return jax.lax.top_k(-clock.remaining, number)[1].astype(jnp.int32)


def arrivals_of(clock: Clock, workers: jax.Array) -> Arrivals:
    """Return the outstanding mini-batches of different workers, sorted by worker."""
    workers = jnp.sort(workers)
    return Arrivals(
        workers,
        clock.version[workers],
        clock.draws[workers] + 1,
        jnp.zeros_like(workers),
    )


def sort_arrivals(arrivals: Arrivals) -> Arrivals:
    """Sort arrivals in order of time by worker, and count how often each came."""
    order = jnp.argsort(arrivals.worker, stable=True)
    worker = arrivals.worker[order]
    first = jnp.searchsorted(worker, worker, method="compare_all")
    visit = jnp.arange(worker.size, dtype=jnp.int32) - first.astype(jnp.int32)
    return arrivals._replace(
        worker=worker,
        version=arrivals.version[order],
        count=arrivals.count[order],
        visit=visit,
    )


def first_arrivals(clock: Clock, number: int) -> tuple[Clock, Arrivals]:
    """Return the moment at which so many workers have finished, and what they bring."""
    workers = first_workers(clock, number)
    clock = let_pass(clock, clock.remaining[workers[-1]])
    return clock, arrivals_of(clock, workers)


def one_by_one(race: Race, clock: Clock, versions: jax.Array) -> tuple[Clock, Arrivals]:
    """Return the next K mini-batches; who finishes one goes on with another.

    Args:
      race: The workers.
      clock: Before.
      versions: int32 ``[K]``, what each of those who finish reads.
    """

    def finish_one(clock, version):
        clock, arrivals = first_arrivals(clock, 1)
        clock = race.restart_some(clock, arrivals.worker, version)
        return clock, jax.tree.map(lambda leaf: leaf[0], arrivals)

    clock, arrivals = jax.lax.scan(finish_one, clock, versions)
    return clock, sort_arrivals(arrivals)


def next_update(clock: Clock) -> Clock:
    """Count one update of the parameters."""
    return clock._replace(updates=clock.updates + 1)
