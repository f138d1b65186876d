"""K-batch-async: an update for every K mini-batches, and nobody ever waits."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.timing import _clock, _protocol


def k_batch_async(k: int) -> _protocol.Protocol:
    """Update after every K mini-batches; who finishes reads what there is and goes on.

    Nobody waits and nothing is given up. Whose mini-batch is the K-th reads the new
    parameters.

    Args:
      k: K, at least 1; it may exceed W.

    Returns:
      A protocol for :func:`jaxdist.simulate_async`. A mean update takes K / W of the
      mean time of a mini-batch, and the mean staleness is (W - 1) / K updates, whatever
      the law.

    Raises:
      ValueError: If ``k`` is below 1.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.exponential(mean=1.0)
      >>> protocol = jaxdist.timing.k_batch_async(4)
      >>> print(jaxdist.timing.expected_step_time(protocol, 8, law))
      0.5
      >>> print(jaxdist.timing.expected_staleness(protocol, 8))
      1.75

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018.
    """
    k = _checks.integer("k", k, 1)

    def wait(race, clock):
        versions = jnp.broadcast_to(clock.updates, (k,)).at[-1].add(1)
        clock, arrivals = _clock.one_by_one(race, clock, versions)
        return _clock.next_update(clock), arrivals

    def step_time(law, num_workers):
        return None if law.mean is None else k * law.mean / num_workers

    return _protocol.Protocol(
        f"k_batch_async({k})",
        k,
        wait,
        is_synchronous=False,
        repeats=k > 1,
        step_time=step_time,
        staleness=lambda num_workers: (num_workers - 1) / k,
    )
