"""Recommended number of workers: up to which each of them is still worth its cost."""

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.diagnostics import _diversity_metrics


def recommended_num_workers(
    metrics: _diversity_metrics.DiversityMetrics, efficiency: float = 0.5
) -> jax.Array:
    r"""Return the largest number of workers of which each still brings so much.

    .. math:: \max\{W : r(W)/W \ge e\} = \Big\lfloor \frac{1 + S/G}{e} - \frac SG
       \Big\rfloor, \qquad r(W) = \frac{S + G}{S/W + G}

    A step of W workers is worth :math:`r(W)` steps of one. With ``efficiency`` 1/2 the
    answer is :math:`2 + S/G`: with as many workers as the noise scale, training takes
    twice as many gradients as one worker needs.

    Args:
      metrics: Of :func:`jaxdist.diversity_metrics`.
      efficiency: e, in (0, 1], no unit: the gain for each worker.

    Returns:
      A whole number of at least 1, float32 of shape (), of workers with the same local
      batch; inf where there is no signal. It is that of the present parameters: the
      noise scale grows while training goes on, often tenfold.

    Raises:
      ValueError: If ``efficiency`` is not in (0, 1].
      TypeError: If ``metrics`` are none.

    Communication:
      None.

    Example:
      >>> metrics = jaxdist.DiversityMetrics(jnp.array(60.0), jnp.array(2.0), 8)
      >>> print(jaxdist.diagnostics.recommended_num_workers(metrics))
      32.0

    References:
      McCandlish et al., `An Empirical Model of Large-Batch Training
      <https://arxiv.org/abs/1812.06162>`_, 2018, Equation 2.11, in workers.
    """
    _checks.instance(
        "metrics",
        metrics,
        _diversity_metrics.DiversityMetrics,
        "jaxdist.diversity_metrics(state)",
    )
    efficiency = _checks.real("efficiency", efficiency, 0.0, 1.0, above=True)
    noise = metrics.noise_scale
    if efficiency == 1:  # where inf - inf would be NaN
        return jnp.ones_like(noise)
    # Not the difference of two numbers that may both be infinite.
    number = 1 / efficiency + noise * (1 / efficiency - 1)
    return jnp.maximum(jnp.floor(number * (1 + 1e-6)), 1)
