"""Diversity metrics: how much of a step W workers bring that one could not."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.diagnostics import _running_moments


class DiversityMetrics(NamedTuple):
    """What :func:`measure_diversity` knows of the gradients of W workers."""

    spread: jax.Array  # float32, (): trace of the covariance of one worker's gradient
    signal: jax.Array  # float32, (): squared norm of the expected gradient
    num_workers: jax.Array  # int32, (): W, those that counted in the last step

    @property
    def gain(self) -> jax.Array:
        """How many steps of one worker a step of all is worth, in [1, W]."""
        return self.gain_of(self.num_workers)

    @property
    def diversity(self) -> jax.Array:
        """The gain for each worker, in [1/W, 1]; Definition 4 of Yin et al."""
        return self.gain / jnp.maximum(jnp.asarray(self.num_workers, jnp.float32), 1)

    @property
    def noise_scale(self) -> jax.Array:
        """Spread over signal, in gradients of one worker; inf without a signal."""
        known = self.spread > 0
        ratio = jnp.where(known, self.spread, 0) / jnp.where(known, self.signal, 1)
        return jnp.where(known, ratio, 0)

    def gain_of(self, num_workers: Any) -> jax.Array:
        """Return the gain that another number of such workers would have."""
        number = jnp.maximum(jnp.asarray(num_workers, jnp.float32), 1)
        one = self.spread + self.signal
        all_of_them = self.spread / number + self.signal
        known = all_of_them > 0
        gain = jnp.where(known, one, 1) / jnp.where(known, all_of_them, 1)
        return jnp.clip(gain, 1, number)

    def batch_size(self, local_batch: int, share: float = 1.0) -> jax.Array:
        r"""Return the batch size of all workers up to which larger ones are worth it.

        .. math:: 1 + B_{\text{simple}} = 1 + b\,S/G

        Args:
          local_batch: b, the examples in the gradient of one worker.
          share: Of it, above 0, no unit; the :math:`\delta` of Yin et al.

        Returns:
          A number of examples, float32 of shape (), a scale and not a whole number.
        """
        local_batch = _checks.integer("local_batch", local_batch, 1)
        share = _checks.real("share", share, 0.0, above=True)
        return share * (1 + local_batch * self.noise_scale)


def diversity_metrics(state: Any) -> DiversityMetrics:
    r"""Read what :func:`measure_diversity` noted anywhere in an optimizer state.

    Spread S and signal G are running means, each without bias for a plain mean of
    independent gradients. What is a ratio of them is taken last: the mean of the ratios
    of single steps would have a bias.

    ===============  ===================  =============================================
    field            is                   in
    ===============  ===================  =============================================
    ``spread``       S                    squared units of the gradient
    ``signal``       G                    squared units of the gradient
    ``gain``         (S + G) / (S/W + G)  steps of one worker, in [1, W]
    ``diversity``    gain / W             [1/W, 1]
    ``noise_scale``  S / G                gradients of one worker; times b: examples
    ===============  ===================  =============================================

    Args:
      state: A whole optimizer state, or any part of it with one state of
        :func:`measure_diversity` or :func:`adascale`.

    Returns:
      The metrics, equal on all workers. Before a step was measured, and where all
      gradients were alike, the gain is 1 and the noise scale 0.

    Raises:
      ValueError: If the state holds no such state, or several.

    Communication:
      None.

    Example:
      >>> tx = jaxdist.measure_diversity("data", jaxdist.aggregate("data"))
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))[1]
      >>> gradients = jnp.array([[3.0, 0.0], [1.0, 0.0], [2.0, 1.0], [2.0, -1.0]])
      >>> state = jax.vmap(step, out_axes=None, axis_name="data")(gradients)
      >>> metrics = jaxdist.diversity_metrics(state)
      >>> print(f"{metrics.gain:.3f} {metrics.batch_size(local_batch=8):.2f}")
      1.250 3.91

    References:
      Yin et al., `Gradient Diversity: a Key Ingredient for Scalable Distributed
      Learning <https://arxiv.org/abs/1706.05699>`_, 2018, for the diversity.
      McCandlish et al., `An Empirical Model of Large-Batch Training
      <https://arxiv.org/abs/1812.06162>`_, 2018, for the noise scale.
      Johnson et al., `AdaScale SGD <https://arxiv.org/abs/2007.05105>`_, 2020, for the
      gain. The three are one statistic.
    """
    found = _tree.nodes_of(state, _running_moments.RunningMoments)
    if len(found) != 1:
        raise ValueError(
            "`state` must hold one state of measure_diversity or adascale, got "
            f"{len(found)}."
        )
    return metrics_of(found[0])


def metrics_of(running: _running_moments.RunningMoments) -> DiversityMetrics:
    """Return the metrics that running means stand for."""
    weight = jnp.where(running.weight > 0, running.weight, 1)
    # A signal below 0 is an accident of few samples.
    signal = jnp.maximum(running.signal / weight, 0)
    return DiversityMetrics(
        jnp.maximum(running.spread / weight, 0), signal, running.num_workers
    )
