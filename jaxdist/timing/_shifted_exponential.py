"""Shifted exponential: a part that is always the same, and one without memory."""

import jax
import jax.numpy as jnp

from jaxdist.timing import _law


def shifted_exponential(shift: float, mean: float) -> _law.Law:
    r"""Return a constant plus exponential times, the usual model of a machine.

    .. math:: X = \mathrm{shift} + E, \qquad P(E > t) = e^{-t / \mathrm{mean}}

    Args:
      shift: Seconds that every mini-batch takes, at least 0.
      mean: Mean of what comes on top, in seconds, above 0.

    Returns:
      A law with the mean ``shift + mean``.

    Raises:
      ValueError: If an argument is out of range.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.shifted_exponential(shift=1.0, mean=1.0)
      >>> protocol = jaxdist.timing.k_sync(4)
      >>> print(round(jaxdist.timing.expected_step_time(protocol, 8, law), 4))
      1.6345

    References:
      Lee et al., `Speeding Up Distributed Machine Learning Using Codes
      <https://arxiv.org/abs/1512.02673>`_, 2018.
    """
    shift = _law.finite_seconds("shift", shift)
    mean = _law.finite_seconds("mean", mean, above=True)

    def sample(key, worker, draw):
        del worker, draw
        return shift + mean * jax.random.exponential(key, dtype=jnp.float32)

    def smallest(k, num_workers):
        return shift + _law.exponential_smallest(mean, k, num_workers)

    return _law.Law(
        sample,
        f"shifted_exponential({shift:g}, {mean:g})",
        shift + mean,
        smallest,
        memoryless=shift == 0,
    )
