"""K-async: the first K workers make an update, the others go on with what they have."""

from jaxdist import _checks
from jaxdist.timing import _clock, _protocol


def k_async(k: int) -> _protocol.Protocol:
    """Wait for the first K workers; they read the new parameters, the others go on.

    Nothing that was computed is lost, but late gradients are of old parameters. K = 1
    is asynchronous SGD, K = W synchronous SGD.

    Args:
      k: K, in [1, W].

    Returns:
      A protocol for :func:`jaxdist.simulate_async`. The mean staleness is W / K - 1
      updates, whatever the law.

    Raises:
      ValueError: If ``k`` is below 1; when used, if it exceeds W.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.trace([[1.0], [2.5]])
      >>> protocol = jaxdist.timing.k_async(1)
      >>> times = jaxdist.timing.simulate_clock(protocol, law, 2, 4)
      >>> print(times.time, times.worker.ravel(), times.staleness.ravel())
      [1.  2.  2.5 3. ] [0 0 1 0] [0 0 2 1]

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018.
    """
    k = _checks.integer("k", k, 1)

    def wait(race, clock):
        clock, arrivals = _clock.first_arrivals(clock, k)
        clock = race.restart_some(clock, arrivals.worker, clock.updates + 1)
        return _clock.next_update(clock), arrivals

    def step_time(law, num_workers):
        if k == num_workers or law.memoryless:
            return None if law.smallest is None else law.smallest(k, num_workers)
        if k == 1 and law.mean is not None:
            return law.mean / num_workers
        return None

    return _protocol.Protocol(
        f"k_async({k})",
        k,
        wait,
        is_synchronous=False,
        step_time=step_time,
        staleness=lambda num_workers: num_workers / k - 1,
    )
