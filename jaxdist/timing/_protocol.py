"""Protocol: whom a server waits for, and which parameters each worker reads.

A protocol is one function of the clock. It moves the clock on to the next update, and
says which mini-batches make that update; nothing in it touches a gradient.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxdist import _checks
from jaxdist.timing import _clock, _law

Wait = Callable[[_clock.Race, _clock.Clock], tuple[_clock.Clock, _clock.Arrivals]]


# No tuple: `jax.jit` needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Protocol:
    """Whom a server waits for before it updates the parameters.

    Attributes:
      name: How errors and plots call it.
      num_arrivals: K, the mini-batches of one update.
      wait: ``(race, clock) -> (clock, arrivals)``, one update later.
      is_synchronous: Whether all mini-batches of an update are of its own parameters.
      repeats: Whether a worker may bring several mini-batches to one update.
      rereads: Whether workers may read parameters without a part in an update.
      step_time: ``(law, num_workers) -> seconds`` of a mean update, or None where no
        formula is known for this law.
      staleness: ``(num_workers) -> updates``, the mean, or None.
      pace: How K changes while training goes on, or None.
      code: What recovers the sum of all data from some workers, or None.
    """

    name: str
    num_arrivals: int
    wait: Wait
    is_synchronous: bool
    repeats: bool = False
    rereads: bool = False
    step_time: Callable[[_law.Law, int], float | None] = lambda law, num_workers: None
    staleness: Callable[[int], float | None] = lambda num_workers: None
    pace: Any = None
    code: Any = None

    def __repr__(self):
        return self.name

    def most_visits(self, num_workers: int) -> int:
        """Return how many mini-batches one worker may bring to an update; 0 for one."""
        if self.pace is not None:
            most = max(self.pace.all_choices(num_workers))
            return most if most > 1 and self.pace.make(most).repeats else 0
        return self.num_arrivals if self.repeats else 0

    def allows_memory(self, num_workers: int) -> bool:
        """Whether a worker brings one message to an update, always of one kind."""
        if self.code is None:
            return not self.most_visits(num_workers)
        is_alike = self.code.coefficients is None
        return is_alike and max(self.code.num_messages) <= 1

    def check(self, num_workers: int) -> None:
        """Raise when so many workers cannot bring what is waited for."""
        if self.code is not None and self.code.num_workers != num_workers:
            raise ValueError(
                f"`num_workers` must be that of the code {self.code.name}, "
                f"{self.code.num_workers}, got {num_workers}."
            )
        largest = self.num_arrivals
        if self.pace is not None:
            largest = max(self.pace.all_choices(num_workers) + (largest,))
        repeats = self.repeats or self.most_visits(num_workers) > 0
        if self.code is None and not repeats and largest > num_workers:
            raise ValueError(
                f"`k` of {self.name} must lie in [1, {num_workers}], the number of "
                f"workers, got {largest}: a worker has one mini-batch in an update. "
                "k_batch_sync and k_batch_async take several of a worker."
            )


def checked_race(law: Any, num_workers: Any, name: str = "law") -> _clock.Race:
    """Return W workers with their law, or raise."""
    law = _law.checked_law(name, law)
    num_workers = _checks.integer("num_workers", num_workers, 1)
    law.check(num_workers)
    return _clock.Race(law, num_workers)


def check_protocol(value: Any) -> None:
    """Raise unless the value is a protocol."""
    _checks.instance("protocol", value, Protocol, "jaxdist.timing.k_async(1)")
