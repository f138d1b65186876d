"""LoCo: Adam on gradients of four bits, whose errors come back as an average."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _collectives, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.compression import _blockwise_int, _by_leaf, _compressor, _error_feedback
from jaxdist.optimizers import _adam, _descent, _ways
from jaxdist.rules import _rule


class LocoState(NamedTuple):
    """State of :func:`loco`; equal on all workers but for residuals."""

    count: jax.Array  # int32, shape ()
    momentum: Any  # like the parameters, float32 or wider
    variance: Any  # like the parameters, real, float32 or wider
    sent: Any  # state of the aggregation


def loco(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    average: float = 0.5,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Adam on gradients of four bits with averaged feedback.

    .. math:: h_i = g_i + e_i, \quad q_i = C(h_i), \quad
       e_i \leftarrow (1 - \alpha) e_i + \alpha (h_i - q_i), \quad
       x \leftarrow x - \eta\, \mathrm{Adam}\Big(\frac{1}{W}\sum_i q_i\Big)

    Four bits leave so little noise that the root of the second moment stands it, and
    a residual takes one byte. Of all optimizers here it asks for the least tuning.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, loco("data", 1e-3), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule; that of Adam.
      b1: Decay of the first moment in [0, 1), no unit.
      b2: Decay of the second moment in [0, 1), no unit.
      eps: Added to the root of the second moment, at least 0.
      weight_decay: Share of the weights that is taken off in units of
        :math:`\eta`, as in ``optax.adamw``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      average: :math:`\alpha` in (0, 1], no unit, of the default compressor; 1 is error
        feedback.
      rule: As in :func:`jaxdist.aggregate`.
      compressor: :math:`C` with its feedback. None is four bits both ways,
        ``error_feedback(blockwise_int(4), average=average, residual_dtype="int8")``,
        but for small leaves, which travel as they are.
      downlink: As in :func:`jaxdist.aggregate`; where ``compressor`` is None four bits.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer. Updates are equal on all workers. Without any worker (``weight=0``)
      nothing moves. What arrives and is not finite makes updates that are not, but no
      moment keeps it.

    Raises:
      TypeError: If ``rule`` or a compressor is none.
      ValueError: If a number is out of range, or ``mask`` is none; and as
        :func:`jaxdist.aggregate` raises.

    Communication:
      Four bits each way and a float32 for 256 weights, (W-1)/W · 1.03 bytes per weight.
      Memory: 9 bytes per weight (two moments, a residual) and 1/W for the way back.

    Example:
      >>> tx = jaxdist.optimizers.loco("data", 1e-3)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> report = jaxdist.communication_report(tx, params, 8)
      >>> print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      0.9 7.8

    References:
      Xie et al., `LoCo: Low-Bit Communication Adaptor for Large-scale Model Training
      <https://arxiv.org/abs/2407.04480>`_, 2024, Algorithm 1. There residuals are
      set to zero now and then, and nothing travels back, where each worker needs its
      shard alone.
    """
    four_bits = _by_leaf.by_leaf(
        _error_feedback.error_feedback(
            _blockwise_int.blockwise_int(4), average=average, residual_dtype="int8"
        )
    )
    inner = _ways.bind_way(axis_name, rule, compressor, downlink, key, four_bits)
    adam = _adam.checked_adam(b1, b2, eps)
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)

    def init(params):
        zeros = _adam.zero_moments(axis_name, params)
        sent = _share_momentum.init_wide(inner, params)
        return LocoState(jnp.zeros((), jnp.int32), *zeros, sent)

    def direct(step, state):
        arrived = step.send_gradient(axis_name, inner, state.sent)
        count = _tree.next_count(state.count)
        before = _adam.AdamMoments(state.momentum, state.variance)
        direction, moments = adam.step(arrived.values, before, count, step.is_there)
        return direction, LocoState(count, *moments, arrived.inner_state)

    return _descent.whole_optimizer(axis_name, "loco", LocoState, init, direct, descent)
