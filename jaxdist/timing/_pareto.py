"""Pareto: compute times with a heavy tail."""

import math

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.timing import _law


def pareto(shape: float, scale: float) -> _law.Law:
    r"""Return times with a heavy tail: now and then a worker takes very long.

    .. math:: P(X > t) = (\mathrm{scale} / t)^{\mathrm{shape}}, \qquad
       t \ge \mathrm{scale}

    Args:
      shape: How thin the tail is, above 0, no unit. Up to 1 the mean is infinite, up to
        2 the variance.
      scale: Shortest time, in seconds, above 0.

    Returns:
      A law with the mean ``scale * shape / (shape - 1)``.

    Raises:
      ValueError: If an argument is out of range.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.pareto(shape=2.0, scale=1.0)
      >>> for k in (4, 8):
      ...     protocol = jaxdist.timing.k_sync(k)
      ...     print(round(jaxdist.timing.expected_step_time(protocol, 8, law), 4))
      1.3924
      5.0922
    """
    shape = float(_checks.real("shape", shape, 0.0, above=True, static=True))
    scale = _law.finite_seconds("scale", scale, above=True)

    def sample(key, worker, draw):
        del worker, draw
        log_of_ratio = jax.random.exponential(key, dtype=jnp.float32) / shape
        return scale * jnp.exp(log_of_ratio)

    def smallest(k, num_workers):
        last = num_workers - k + 1 - 1 / shape
        if last <= 0:
            return math.inf
        logs = (
            math.lgamma(num_workers + 1)
            + math.lgamma(last)
            - math.lgamma(num_workers - k + 1)
            - math.lgamma(num_workers + 1 - 1 / shape)
        )
        return scale * math.exp(logs)

    mean = scale * shape / (shape - 1) if shape > 1 else math.inf
    return _law.Law(sample, f"pareto({shape:g}, {scale:g})", mean, smallest)
