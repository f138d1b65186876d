"""DeMo: momentum that is not exchanged, but for its strongest frequencies."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.compression import (
    _blockwise_int,
    _compressor,
    _dct_top_k,
    _error_feedback,
    _quantized,
    _scaled_sign,
)
from jaxdist.optimizers import _descent, _ways
from jaxdist.rules import _rule


class DemoState(NamedTuple):
    """State of :func:`demo`; the momenta are the residuals in it."""

    count: jax.Array  # int32, shape (); equal on all workers
    sent: Any  # state of the aggregation


def demo(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    decay: float = 0.999,
    density: float = 32 / 4096,
    block_size: int = 4096,
    transform_size: int = 64,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    values: Literal["int8", "sign", "float"] = "int8",
    residual_dtype: Literal["float32", "bfloat16", "int8"] | None = None,
    rule: _rule.AggregationRule | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Keep a momentum on each worker, and exchange its strongest frequencies.

    .. math:: m_i \leftarrow \beta m_i + g_i, \quad q_i = C(m_i), \quad
       m_i \leftarrow m_i - q_i, \quad
       x \leftarrow x - \eta\, \mathrm{sign}\Big(\frac{1}{W}\sum_i q_i\Big)

    :math:`C` keeps the largest coefficients of short cosine transforms
    (:func:`jaxdist.compression.dct_top_k`), each in a byte and its place in 12 bits.
    What was sent leaves the momentum: it is the residual of error feedback that decays.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, demo("data", 1e-3), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule: how far each
        weight moves in a step.
      decay: :math:`\beta` in [0, 1], no unit.
      density: Kept share of the coefficients in (0, 1], no unit.
      block_size: Coefficients among which the largest are found.
      transform_size: Elements of a transform, in [1, 512].
      weight_decay: Share of the weights that is taken off in units of
        :math:`\eta`, as in ``optax.adamw``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      values: How coefficients travel: ``"int8"`` with a scale for 256 of them,
        ``"sign"``, a bit each and the mean magnitude of a block, as in DisTrO, or
        ``"float"``, as they are.
      residual_dtype: Of the momenta, as in :func:`jaxdist.compression.error_feedback`.
      rule: As in :func:`jaxdist.aggregate`, one that does not go by coordinates:
        workers keep different ones.
      downlink: As in :func:`jaxdist.aggregate`. Without it each worker hears all
        others, and the bytes grow with W. For many workers take
        ``error_feedback(dct_top_k(1 / 4))``.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer. Updates are equal on all workers, and each of their elements is the
      learning rate, its negative or 0, but for the decay of weights. Without any worker
      (``weight=0``) nothing moves. What arrives and is not finite makes updates that
      are not.

    Raises:
      TypeError: If ``rule`` or ``downlink`` is none.
      ValueError: If a number is out of range, or ``mask`` is none; and as
        :func:`jaxdist.aggregate` raises.

    Communication:
      k = ``density`` · d coefficients of d weights in all-gathers, (W-1) · 2.5 k bytes;
      with signs (W-1) · 1.625 k, as they are (W-1) · 5.5 k. Memory: 4 bytes per weight,
      the momentum, and nothing else.

    Example:
      >>> tx = jaxdist.optimizers.demo("data", 1e-3)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> report = jaxdist.communication_report(tx, params, 8)
      >>> print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      0.14 50.9

    References:
      Peng et al., `DeMo: Decoupled Momentum Optimization
      <https://arxiv.org/abs/2411.19870>`_, 2024, Algorithm 1. There matrices are
      transformed along both sides, and values travel as they are.
    """
    _checks.one_of("values", values, ("int8", "sign", "float"))
    sent = _error_feedback.error_feedback(
        _strongest(density, block_size, transform_size, values),
        decay,
        residual_dtype=residual_dtype,
    )
    inner = _ways.bind_way(axis_name, rule, sent, downlink, key)
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        return DemoState(zero, _share_momentum.init_wide(inner, params))

    def direct(step, state):
        arrived = step.send_gradient(axis_name, inner, state.sent)
        direction = jax.tree.map(jnp.sign, arrived.values)
        return direction, DemoState(_tree.next_count(state.count), arrived.inner_state)

    return _descent.whole_optimizer(axis_name, "demo", DemoState, init, direct, descent)


def _strongest(density, block_size, transform_size, values):
    """Return what sends the largest coefficients."""
    block_size = _checks.integer("block_size", block_size, 1)
    kept = _dct_top_k.dct_top_k(density, block_size, transform_size)
    if values == "float":
        return kept
    if values == "int8":
        return _quantized.quantized(kept, _blockwise_int.blockwise_int(8))
    signs = _scaled_sign.scaled_sign(_tree.kept_count(density, block_size))
    # A block with fewer coefficients than there is room for sends some that are zero,
    # for which a bit has no word; feedback takes back what they become.
    forgiven = signs.contract.__class__(
        variance=signs.contract.variance, aligned=True, keeps_zeros=True
    )
    return _quantized.quantized(kept, signs._replace(contract=forgiven))
