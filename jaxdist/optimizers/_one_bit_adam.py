"""1-bit Adam: Adam for a while, then the signs of a momentum that all workers share."""

from typing import Any, NamedTuple

import jax
import optax

from jaxdist import _collectives
from jaxdist.compression import _compressor
from jaxdist.optimizers import _descent, _frozen_adam
from jaxdist.rules import _rule


class OneBitAdamState(NamedTuple):
    """State of :func:`one_bit_adam`; equal on all workers but for residuals."""

    count: jax.Array  # int32, shape ()
    refreshes: jax.Array  # int32, shape (); gradients in the variance
    momentum: Any  # like the parameters, float32 or wider
    variance: Any  # like the parameters, real, float32 or wider
    whole: Any  # state of the aggregation of gradients, in the warm-up
    sent: Any  # state of the aggregation of momenta, after it


def one_bit_adam(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    warm_up: int,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    max_ratio: float | None = 3.0,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    warm_up_compressor: _compressor.AnyCompressor | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Adam for ``warm_up`` steps, then send the signs of a common momentum.

    .. math:: m \leftarrow C\Big(\frac{1}{W}\sum_i
       C\big(\beta_1 m + (1 - \beta_1) g_i + e_i\big) + e\Big), \qquad
       x \leftarrow x - \eta \frac{m}{\sqrt{v} + \epsilon}

    In the warm-up gradients travel as they are, and move :math:`m` and :math:`v` as in
    Adam. Then :math:`v` is frozen, so that no noise of compression comes into its root.
    Both moments are corrected for their start at zero. Where :math:`v` is 0 nothing
    moves: a bit cannot say zero. Where it is tiny, the magnitude that a bit has could
    make any step; ``max_ratio`` limits it.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, one_bit_adam("data", 1e-3, warm_up=1000), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule. Its own warm-up
        should end before that of the variance.
      warm_up: Steps of plain Adam, at least 1; the paper takes 15 to 20 % of all.
      b1: :math:`\beta_1` in [0, 1), no unit.
      b2: :math:`\beta_2` in [0, 1), no unit.
      eps: :math:`\epsilon \ge 0`.
      weight_decay: Share of the weights that is taken off in units of
        :math:`\eta`, as in ``optax.adamw``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      max_ratio: The most that :math:`m / \sqrt{v}` may be, no unit; in Adam it is at
        most about :math:`(1 - \beta_1)/\sqrt{1 - \beta_2}`. None, as in the paper, is
        no limit: where some gradients are almost always zero, training then diverges.
      rule: As in :func:`jaxdist.aggregate`, of gradients and of momenta.
      compressor: :math:`C` of momenta, as in :func:`jaxdist.aggregate`. None is
        ``by_leaf(error_feedback(scaled_sign()))``, both ways.
      downlink: As in :func:`jaxdist.aggregate`; where ``compressor`` is None signs too.
      warm_up_compressor: Of gradients in the warm-up, both ways; None sends them as
        they are. ``blockwise_int(8)`` loses next to nothing.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer. Updates are equal on all workers. A worker of ``weight=0`` counts
      for nothing; without any worker nothing moves. What arrives and is not finite
      makes updates that are not, but no moment keeps it.

    Raises:
      TypeError: If ``rule`` or a compressor is none.
      ValueError: If a number is out of range, or ``mask`` is none; and as
        :func:`jaxdist.aggregate` raises.

    Communication:
      In the warm-up as dense gradients, 2(W-1)/W · 4 bytes per weight; then a bit each
      way, (W-1)/W · 1/4 bytes. ``communication_report(..., step=n)`` lists what step n
      sends. Memory: 12 bytes per weight (two moments, and a residual with signs) and
      4/W for the way back.

    Example:
      >>> tx = jaxdist.optimizers.one_bit_adam("data", 1e-3, warm_up=100)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> for step in (0, 100):
      ...     report = jaxdist.communication_report(tx, params, 8, step=step)
      ...     print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      7.0 1.0
      0.22 32.0

    References:
      Tang et al., `1-bit Adam: Communication Efficient Large-Scale Training with Adam's
      Convergence Speed <https://arxiv.org/abs/2102.02888>`_, 2021, Algorithm 1. There
      moments are not corrected for their start at zero, and no ratio is limited.
    """
    adam = _frozen_adam.frozen_after(
        *(warm_up, axis_name, b1, b2, eps, max_ratio),
        ways=_frozen_adam.Ways(
            rule, compressor, downlink, warm_up_compressor, warm_up_compressor, key
        ),
    )
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)
    return _frozen_adam.optimizer_of("one_bit_adam", OneBitAdamState, adam, descent)
