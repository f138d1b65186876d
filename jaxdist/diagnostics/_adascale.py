"""AdaScale: a schedule tuned for one worker, kept by any number of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _tree
from jaxdist.diagnostics import _diversity_metrics, _running_moments
from jaxdist.workers import _moments

_STEPS_REMEMBERED = 1000  # gradients of one worker in the running means, as fairscale


class AdascaleState(NamedTuple):
    """State of :func:`adascale`."""

    progress: jax.Array  # float32, shape (): steps of one worker; equal on all workers
    moments: _running_moments.RunningMoments
    inner_state: Any  # state of the wrapped transformation


def adascale(
    axis_name: _collectives.AxisName,
    learning_rate: float | optax.Schedule,
    inner: optax.GradientTransformation,
    decay: float | None = None,
    power: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Scale steps by the gain of W workers over one, and count progress by it.

    .. math:: u_t = -r_t^p\,\eta(\tau_t)\,\text{inner}(g)_t, \qquad
       \tau_{t+1} = \tau_t + r_t, \qquad r_t = \frac{S + G}{S/W + G} \in [1, W]

    A step of W workers is worth :math:`r_t` steps of one (S and G are those of
    :func:`measure_diversity`). So a schedule that was tuned for one worker serves any
    number of them: training ends when ``progress`` has reached its number of steps.
    It then takes as many steps as it needs, and not W times fewer.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, the rate for **one** worker: a number, or a schedule
        of the progress, a float32 of shape () in steps of one worker.
      inner: What holds an :func:`aggregate` over ``axis_name``, and no learning rate:
        ``optax.chain(jaxdist.aggregate("data"), optax.trace(0.9))``.
      decay: Of the running means, in [0, 1), no unit; max(1 - W/1000, 0) when None.
      power: p, no unit; 1 for SGD. For Adam 1/2 came nearest to the run of one worker
        in one study on digits, which proves nothing.

    Returns:
      A transformation that keeps structure, shapes and dtypes, whose updates
      are those for ``optax.apply_updates``, with their sign. Its state holds the
      ``progress``; :func:`diversity_metrics` reads the gain. Steps that cannot be
      measured take the gain of before, and 1 before the first.

    Raises:
      ValueError: If ``decay`` is not in [0, 1), ``power`` negative or
        ``learning_rate`` negative; when applied, as :func:`measure_diversity`.
      TypeError: If ``inner`` is no transformation.

    Communication:
      That of ``inner``, and 4 bytes in an all-reduce, as :func:`measure_diversity`.

    Example:
      >>> tx = jaxdist.adascale("data", 0.1, jaxdist.aggregate("data"))
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))
      >>> alike = jnp.ones((4, 2))
      >>> updates, state = jax.vmap(step, out_axes=None, axis_name="data")(alike)
      >>> print(updates, state.progress)
      [-0.1 -0.1] 1.0

    References:
      Johnson et al., `AdaScale SGD: A User-Friendly Algorithm for Distributed Training
      <https://arxiv.org/abs/2007.05105>`_, 2020, Algorithm 1. Theirs starts from a
      gain of 1; here the first steps are as long as their own gradients say.
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    if decay is not None:
        decay = _checks.real("decay", decay, 0.0, 1.0, below=True)
    power = _checks.real("power", power, 0.0)
    rate_of = _checks.schedule("learning_rate", learning_rate)
    inner = optax.with_extra_args_support(inner)

    def init(params):
        progress = jnp.zeros((), jnp.float32)
        moments = _running_moments.start_moments()
        return AdascaleState(progress, moments, inner.init(params))

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, AdascaleState, "adascale")
        num_workers = _running_moments.check_axis("adascale", axis_name)
        with _moments.asked_for() as noted:
            updates, inner_state = inner.update(
                updates, state.inner_state, params, **extra_args
            )
        step = _running_moments.sum_of_noted("adascale", axis_name, noted)
        kept = max(1 - num_workers / _STEPS_REMEMBERED, 0.0)
        moments = _running_moments.add_moments(
            state.moments, step, kept if decay is None else decay
        )
        gain = _diversity_metrics.metrics_of(moments).gain
        scale = -(gain**power) * rate_of(state.progress)
        updates = jax.tree.map(lambda leaf: _scaled(leaf, scale), updates)
        return updates, AdascaleState(state.progress + gain, moments, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _scaled(leaf, scale):
    wide = _tree.widened(leaf)
    return (wide * scale.astype(wide.dtype)).astype(leaf.dtype)
