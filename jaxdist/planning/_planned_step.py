"""Planned step: how long a step takes, and on which network it would take how long."""

import dataclasses
import math
from collections.abc import Callable, Mapping

from jaxdist import _checks, _traffic
from jaxdist.planning import _candidate, _link

_SLOWEST, _FASTEST = 1e-6, 1e9  # times the given bandwidth, between which is searched
_HALVINGS = 100


@dataclasses.dataclass(frozen=True)
class PlannedStep:
    """One line of a plan.

    Attributes:
      name: Of the candidate.
      candidate: What was planned.
      compute_seconds: Seconds that a step computes.
      backward_share: The share of them that is its backward pass.
      messages: What each device sends in one exchange.
      topology: The link of each axis.
    """

    name: str
    candidate: _candidate.Candidate
    compute_seconds: float
    backward_share: float
    messages: tuple[_traffic.Message, ...]
    topology: Mapping[str, _link.Link]

    @property
    def nbytes(self) -> float:
        """Bytes that each device sends per step."""
        total = sum(message.nbytes * message.per_step for message in self.messages)
        return total / self.candidate.local_steps

    @property
    def seconds(self) -> float:
        """Seconds of a step, the mean of a round."""
        return self._seconds_with(1.0)

    @property
    def waiting(self) -> float:
        """The share of a step in which nothing is computed, in [0, 1)."""
        return 1 - self.compute_seconds / self.seconds

    def min_bandwidth(self, busy: float = 0.95) -> float:
        """Return the least bandwidth with which a step computes most of the time.

        Args:
          busy: The share of a step that must be computing, in (0, 1).

        Returns:
          Bytes per second over the slowest axis of those that are used, where all
          change in proportion; 0 when nothing is sent, inf when latency alone is too
          long.

        Raises:
          ValueError: If ``busy`` is out of range.
        """
        _checks.real("busy", busy, 0, 1, above=True, below=True, static=True)
        longest = self.compute_seconds / busy
        return self._least_scale(lambda scale: self._seconds_with(scale) <= longest)

    def break_even(self, other: "PlannedStep") -> float:
        """Return the bandwidth below which this step is shorter than another.

        Args:
          other: A step over the same links.

        Returns:
          Bytes per second as :meth:`min_bandwidth` counts them: inf when this one is
          shorter on all networks, 0 when on none.
        """

        def is_longer(scale):
            return self._seconds_with(scale) >= other._seconds_with(scale)

        if not is_longer(_FASTEST):
            return math.inf
        return 0.0 if is_longer(_SLOWEST) else self._least_scale(is_longer, other)

    def _least_scale(
        self, holds: Callable[[float], bool], other: "PlannedStep | None" = None
    ) -> float:
        """Return the least bandwidth with which something holds, found by halving."""
        slowest = self._slowest_bandwidth() or (other and other._slowest_bandwidth())
        if not slowest:
            return 0.0
        if not holds(_FASTEST):
            return math.inf
        low, high = math.log(_SLOWEST), math.log(_FASTEST)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if holds(math.exp(middle)):
                high = middle
            else:
                low = middle
        return slowest * math.exp(high)

    def _slowest_bandwidth(self) -> float:
        links = [_link_of(message, self.topology) for message in self.messages]
        return min((link.bandwidth for link in links), default=0.0)

    def _seconds_with(self, scale: float) -> float:
        """Return the seconds of a step where all bandwidths are multiplied."""
        chosen, computes = self.candidate, self.compute_seconds
        times = [self._message_seconds(message, scale) for message in self.messages]
        late = self._lateness(times) - chosen.overlap * computes
        waits = chosen.fragments * max(late, 0.0)
        # However early a message starts, a link carries one after the other.
        travels = chosen.fragments * sum(times)
        return max(chosen.local_steps * computes + waits, travels) / chosen.local_steps

    def _message_seconds(self, message: _traffic.Message, scale: float) -> float:
        """Return how long a fragment of a message takes, the mean over all steps."""
        link = _link_of(message, self.topology)
        link = dataclasses.replace(link, bandwidth=link.bandwidth * scale)
        nbytes = message.nbytes / self.candidate.fragments
        return message.per_step * link.seconds(message.route, nbytes)

    def _lateness(self, times: list[float]) -> float:
        """Return the seconds from the end of a step to that of its last message."""
        buckets = 1 + max((message.bucket for message in self.messages), default=0)
        free = -math.inf
        # What comes back of a bucket need not wait for what is sent of the next.
        in_turn = sorted(
            zip(self.messages, times, strict=True), key=lambda pair: pair[0].bucket
        )
        for message, seconds in in_turn:
            # The gradients of a bucket are there when its part of the backward pass is.
            left = 1 - (message.bucket + 1) / buckets
            ready = -left * self.backward_share * self.compute_seconds
            free = max(free, ready) + seconds
        return max(free, 0.0)


def _link_of(
    message: _traffic.Message, topology: Mapping[str, _link.Link]
) -> _link.Link:
    """Return the link of a message, which may go over several axes at once."""
    links = [topology[name] for name in message.axis.split(",")]
    rings = any(link.algorithm == "ring" for link in links)
    return _link.Link(
        math.prod(link.num_workers for link in links),
        min(link.bandwidth for link in links),
        max(link.latency for link in links),
        "ring" if rings else "tree",
    )
