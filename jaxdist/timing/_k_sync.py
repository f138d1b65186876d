"""K-sync: the first K workers make an update, the others have worked in vain."""

from jaxdist import _checks
from jaxdist.timing import _clock, _protocol


def k_sync(k: int) -> _protocol.Protocol:
    """Wait for the first K workers; all others give up, and everybody begins again.

    All gradients of an update are of its own parameters. K = W is synchronous SGD;
    a smaller K waits for no straggler, and wastes what the others computed.

    Args:
      k: K, in [1, W].

    Returns:
      A protocol for :func:`jaxdist.simulate_async`.

    Raises:
      ValueError: If ``k`` is below 1; when used, if it exceeds W.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.trace([[1.0, 1.0], [2.0, 9.0], [4.0, 3.0]])
      >>> protocol = jaxdist.timing.k_sync(2)
      >>> times = jaxdist.timing.simulate_clock(protocol, law, 3, 2)
      >>> print(times.time, times.worker.tolist())
      [2. 5.] [[0, 1], [0, 2]]

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018.
    """
    k = _checks.integer("k", k, 1)

    def wait(race, clock):
        clock, arrivals = _clock.first_arrivals(clock, k)
        return _clock.next_update(race.restart_all(clock)), arrivals

    def step_time(law, num_workers):
        return None if law.smallest is None else law.smallest(k, num_workers)

    return _protocol.Protocol(
        f"k_sync({k})",
        k,
        wait,
        is_synchronous=True,
        step_time=step_time,
        staleness=lambda num_workers: 0.0,
    )
