"""Constant: every mini-batch takes as long as every other."""

from jaxdist.timing import _law


def constant(seconds: float = 1.0) -> _law.Law:
    """Return times that are all the same.

    Args:
      seconds: Of every mini-batch, at least 0.

    Returns:
      A law. Of workers that finish at the same moment the lowest index comes first.

    Raises:
      ValueError: If ``seconds`` is out of range.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.constant(2.0)
      >>> protocol = jaxdist.timing.k_async(1)
      >>> times = jaxdist.timing.simulate_clock(protocol, law, 4, 6)
      >>> print(times.time, times.staleness.ravel())
      [2. 2. 2. 2. 4. 4.] [0 1 2 3 3 3]
    """
    seconds = _law.finite_seconds("seconds", seconds)

    def sample(key, worker, draw):
        del key, worker, draw
        return seconds

    def smallest(k, num_workers):
        del k, num_workers
        return seconds

    return _law.Law(sample, f"constant({seconds:g})", seconds, smallest)
