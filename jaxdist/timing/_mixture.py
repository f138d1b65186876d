"""Mixture: mostly fast, now and then slow."""

import jax
import jax.numpy as jnp

from jaxdist import _checks, _random
from jaxdist.timing import _law


def mixture(
    probability: float,
    fast: _law.Law | _law.LawFunction,
    slow: _law.Law | _law.LawFunction,
) -> _law.Law:
    """Return times of one law, and with some probability of another.

    Args:
      probability: Of ``slow``, for each mini-batch anew, in [0, 1].
      fast: The usual times.
      slow: The others, such as those of a worker that was preempted.

    Returns:
      A law.

    Raises:
      TypeError: If ``fast`` or ``slow`` is no function.
      ValueError: If ``probability`` is out of range.

    Communication:
      None.

    Example:
      >>> timing = jaxdist.timing
      >>> law = timing.mixture(0.1, timing.constant(1.0), timing.constant(20.0))
      >>> print(round(law.mean, 6))
      2.9
    """
    probability = float(_checks.real("probability", probability, 0.0, 1.0, static=True))
    fast = _law.checked_law("fast", fast)
    slow = _law.checked_law("slow", slow)

    def sample(key, worker, draw):
        own = {name: _random.named_key(key, name) for name in ("which", "fast", "slow")}
        is_slow = jax.random.uniform(own["which"], dtype=jnp.float32) < probability
        return jnp.where(
            is_slow, slow(own["slow"], worker, draw), fast(own["fast"], worker, draw)
        )

    def check(num_workers):
        fast.check(num_workers)
        slow.check(num_workers)

    mean = None
    if fast.mean is not None and slow.mean is not None:
        parts = (1 - probability, fast.mean), (probability, slow.mean)
        mean = sum(share * seconds for share, seconds in parts if share)
    name = f"mixture({probability:g}, {fast.name}, {slow.name})"
    return _law.Law(sample, name, mean, check=check)
