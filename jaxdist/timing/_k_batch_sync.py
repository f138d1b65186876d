"""K-batch-sync: the first K mini-batches make an update, whoever computed them."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.timing import _clock, _protocol


def k_batch_sync(k: int) -> _protocol.Protocol:
    """Wait for K mini-batches of the same parameters; who is fast computes several.

    A worker that finishes takes another mini-batch of the same parameters. After the
    K-th all that is outstanding is given up, and everybody begins again.

    Args:
      k: K, at least 1; it may exceed W.

    Returns:
      A protocol for :func:`jaxdist.simulate_async`.

    Raises:
      ValueError: If ``k`` is below 1.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.trace([[1.0], [2.5]])
      >>> protocol = jaxdist.timing.k_batch_sync(3)
      >>> times = jaxdist.timing.simulate_clock(protocol, law, 2, 2)
      >>> print(times.time, times.worker.tolist())
      [2.5 5. ] [[0, 0, 1], [0, 0, 1]]

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018.
    """
    k = _checks.integer("k", k, 1)

    def wait(race, clock):
        versions = jnp.broadcast_to(clock.updates, (k,))
        clock, arrivals = _clock.one_by_one(race, clock, versions)
        return _clock.next_update(race.restart_all(clock)), arrivals

    def step_time(law, num_workers):
        if law.memoryless:
            return k * law.mean / num_workers
        if k == 1 and law.smallest is not None:
            return law.smallest(1, num_workers)
        return None

    return _protocol.Protocol(
        f"k_batch_sync({k})",
        k,
        wait,
        is_synchronous=True,
        repeats=k > 1,
        step_time=step_time,
        staleness=lambda num_workers: 0.0,
    )
