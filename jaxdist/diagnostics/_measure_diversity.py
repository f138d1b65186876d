"""Measure diversity: how different the workers' gradients are, while they travel."""

from typing import Any, NamedTuple

import optax

from jaxdist import _checks, _collectives
from jaxdist.diagnostics import _running_moments
from jaxdist.workers import _moments


class MeasureDiversityState(NamedTuple):
    """State of :func:`measure_diversity`."""

    moments: _running_moments.RunningMoments
    inner_state: Any  # state of the wrapped transformation


def measure_diversity(
    axis_name: _collectives.AxisName,
    inner: optax.GradientTransformation,
    decay: float = 0.99,
) -> optax.GradientTransformationExtraArgs:
    r"""Measure how different the gradients of the workers are that are aggregated.

    .. math:: A = \frac1W \sum_i \|g_i\|^2, \quad M = \Big\|\frac1W \sum_i g_i\Big\|^2,
       \qquad S = \frac{W}{W-1}(A - M), \quad G = M - \frac{S}{W}

    :math:`S` and :math:`G` estimate, without bias where gradients are independent, the
    trace of the covariance of one worker's gradient and the squared norm of the
    expected one. Their running means say how many workers, or which batch size, are
    worth it: read them with :func:`diversity_metrics`. The updates stay those of
    ``inner``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner: What holds an :func:`aggregate` over ``axis_name``, a whole optimizer
        too: what comes before changes what is measured (momentum at the workers, a
        clipped gradient), what follows does not.
      decay: Of the running means, in [0, 1), no unit; 0 keeps the last step alone.

    Returns:
      A transformation with the updates of ``inner``. Its means are equal on all
      workers. The gradients are those that *arrive*: with a compressor, as receivers
      decode them, so that S holds the compressor's noise as the step does. Compressors
      that are biased change what is measured as they change the gradient. A robust rule
      changes nothing: S and G are of all workers, attackers included, so that one of
      them can make S as large as it likes. A ``weight`` weighs the workers as
      numbers of examples do, and S is then of a worker of average weight. Workers of
      weight 0 are left out. Steps in which anything is not finite, fewer than two
      workers count or all gradients are 0 leave the running means alone.

    Raises:
      ValueError: If ``decay`` is not in [0, 1); when applied, if there is one worker
        only, if ``inner`` aggregates over nothing or over other axes, or with a
        compressor whose messages are not of one gradient each
        (:func:`jaxdist.compression.ef21`, :func:`jaxdist.compression.power_sgd`) or
        that changes with the step.
      TypeError: If ``inner`` is no transformation.

    Communication:
      That of ``inner``, and 4 bytes in an all-reduce, which XLA merges with that of the
      gradient: no message more. On the route scatter two such numbers, which join those
      of a rule's distances. On the route gather a robust rule needs none, and a mean of
      compressed gradients a message of its own.

    Example:
      >>> tx = jaxdist.measure_diversity("data", jaxdist.aggregate("data"))
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))[1]
      >>> gradients = jnp.array([[2.0, 0.0], [0.0, 2.0]])
      >>> state = jax.vmap(step, out_axes=None, axis_name="data")(gradients)
      >>> print(jaxdist.diversity_metrics(state).gain)
      2.0

    References:
      Yin et al., `Gradient Diversity: a Key Ingredient for Scalable Distributed
      Learning <https://arxiv.org/abs/1706.05699>`_, 2018. McCandlish et al., `An
      Empirical Model of Large-Batch Training <https://arxiv.org/abs/1812.06162>`_,
      2018, Appendix A.1. Theirs are two batch sizes; here they are one worker and all.
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    decay = _checks.real("decay", decay, 0.0, 1.0, below=True)
    inner = optax.with_extra_args_support(inner)

    def init(params):
        return MeasureDiversityState(
            _running_moments.start_moments(), inner.init(params)
        )

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, MeasureDiversityState, "measure_diversity")
        _running_moments.check_axis("measure_diversity", axis_name)
        with _moments.asked_for() as noted:
            updates, inner_state = inner.update(
                updates, state.inner_state, params, **extra_args
            )
        step = _running_moments.sum_of_noted("measure_diversity", axis_name, noted)
        moments = _running_moments.add_moments(state.moments, step, decay)
        return updates, MeasureDiversityState(moments, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)
