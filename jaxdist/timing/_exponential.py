"""Exponential: compute times without memory."""

import functools

import jax
import jax.numpy as jnp

from jaxdist.timing import _law


def exponential(mean: float = 1.0) -> _law.Law:
    r"""Return exponential times: what remains does not depend on what is done.

    .. math:: P(X > t) = e^{-t / \mathrm{mean}}

    Args:
      mean: Mean seconds of a mini-batch, above 0.

    Returns:
      A law with formulas for all protocols.

    Raises:
      ValueError: If ``mean`` is out of range.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.exponential(mean=2.0)
      >>> protocol = jaxdist.timing.k_sync(1)
      >>> print(jaxdist.timing.expected_step_time(protocol, 8, law))
      0.25
    """
    mean = _law.finite_seconds("mean", mean, above=True)

    def sample(key, worker, draw):
        del worker, draw
        return mean * jax.random.exponential(key, dtype=jnp.float32)

    return _law.Law(
        sample,
        f"exponential({mean:g})",
        mean,
        functools.partial(_law.exponential_smallest, mean),
        memoryless=True,
    )
