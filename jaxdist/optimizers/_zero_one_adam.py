"""0/1 Adam: signs of a common momentum from the start, gradients now and then."""

from typing import Any, NamedTuple

import jax
import optax

from jaxdist import _checks, _collectives
from jaxdist.compression import _compressor
from jaxdist.optimizers import _descent, _frozen_adam, _rare_variance, _ways
from jaxdist.rules import _rule


class ZeroOneAdamState(NamedTuple):
    """State of :func:`zero_one_adam`; equal on all workers but for residuals."""

    count: jax.Array  # int32, shape ()
    refreshes: jax.Array  # int32, shape (); gradients in the variance
    momentum: Any  # like the parameters, float32 or wider
    variance: Any  # like the parameters, real, float32 or wider
    whole: Any  # state of the aggregation of gradients, in refreshes
    sent: Any  # state of the aggregation of momenta, in all other steps


def zero_one_adam(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    num_refreshes: int = 16,
    max_period: int | None = None,
    max_ratio: float | None = 3.0,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    refresh_compressor: _compressor.AnyCompressor | None = None,
    refresh_downlink: _compressor.AnyCompressor | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Send the signs of a common momentum, and gradients ever more seldom.

    .. math:: m \leftarrow C\Big(\frac{1}{W}\sum_i
       C\big(\beta_1 m + (1 - \beta_1) g_i + e_i\big) + e\Big), \qquad
       x \leftarrow x - \eta \frac{m}{\sqrt{v} + \epsilon}

    There is no warm-up. In a *refresh* the gradient travels instead, in a byte for each
    element, and moves both moments as in Adam. Each of the first ``num_refreshes``
    steps is one, then every second step until there are as many again, then every
    fourth, and so on. The noise of signs never comes into :math:`v`. Where :math:`v` is
    0 nothing moves: a bit cannot say zero.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, zero_one_adam("data", 1e-3), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule.
      b1: :math:`\beta_1` in [0, 1), no unit.
      b2: :math:`\beta_2` in [0, 1), no unit, from one refresh to the next.
      eps: :math:`\epsilon \ge 0`.
      weight_decay: As in :func:`one_bit_adam`.
      mask: As in :func:`one_bit_adam`.
      num_refreshes: Refreshes after which their period doubles.
      max_period: Optimizer steps from one refresh to the next at most; None lets the
        period double for ever.
      max_ratio: As in :func:`one_bit_adam`.
      rule: As in :func:`jaxdist.aggregate`, of gradients and of momenta.
      compressor: As in :func:`one_bit_adam`.
      downlink: As in :func:`one_bit_adam`.
      refresh_compressor: Of gradients; None is ``by_leaf(blockwise_int(8))``, both
        ways. Feedback does not belong here: it brings old gradients into :math:`v`.
      refresh_downlink: As in :func:`jaxdist.aggregate`; where ``refresh_compressor`` is
        None a byte as well.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer, as :func:`one_bit_adam` returns it.

    Raises:
      TypeError: If ``rule`` or a compressor is none.
      ValueError: If a number is out of range, or ``mask`` is none; and as
        :func:`jaxdist.aggregate` raises.

    Communication:
      A bit each way, (W-1)/W · 1/4 bytes per weight, and in refreshes a byte each way
      instead, (W-1)/W · 2 bytes. Of T steps about
      ``num_refreshes`` · log2(T / ``num_refreshes``) are refreshes.
      ``communication_report(..., step=n)`` counts them as often as around step n.
      Memory: 12 bytes per weight and 4/W, as :func:`one_bit_adam`.

    Example:
      >>> tx = jaxdist.optimizers.zero_one_adam("data", 1e-3)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> for step in (0, 100, 10_000):
      ...     report = jaxdist.communication_report(tx, params, 8, step=step)
      ...     print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      1.78 3.9
      0.61 11.5
      0.22 31.5

    References:
      Lu et al., `Maximizing Communication Efficiency for Large-scale Training via 0/1
      Adam <https://arxiv.org/abs/2202.06009>`_, 2022, Algorithm 1 and Section 6. There
      gradients are compressed in all other steps, and momenta are each worker's own;
      here the momentum of all is, which costs no byte more and loses less. Refreshes
      there travel as they are. Local steps are left out: see ``outer=`` of
      :func:`jaxdist.data_parallel`.
    """
    _ways.check_compressors(
        refresh_compressor=refresh_compressor, refresh_downlink=refresh_downlink
    )
    adam = _frozen_adam.frozen_adam(
        *(axis_name, b1, b2, eps, max_ratio),
        refreshes=doubling_periods(num_refreshes, max_period),
        ways=_frozen_adam.Ways(
            *(rule, compressor, downlink),
            *_byte_ways(refresh_compressor, refresh_downlink),
            key,
        ),
    )
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)
    return _frozen_adam.optimizer_of("zero_one_adam", ZeroOneAdamState, adam, descent)


def _byte_ways(compressor, downlink):
    """Return how gradients travel: a byte both ways where nobody says otherwise."""
    if compressor is None:
        return _ways.int8(), _ways.int8() if downlink is None else downlink
    return compressor, downlink


def doubling_periods(
    num_refreshes: int, max_period: int | None
) -> _rare_variance.Refreshes:
    """Return refreshes whose period doubles after so many of them.

    Args:
      num_refreshes: At least 1.
      max_period: At least 1, where the doubling ends; None for never.
    """
    num_refreshes = _checks.integer("num_refreshes", num_refreshes, 1)
    if max_period is not None:
        max_period = _checks.integer("max_period", max_period, 1)
    starts, periods = [0], [1]
    last = max_period or 2**30
    while periods[-1] < last and starts[-1] + num_refreshes * periods[-1] < 2**31:
        starts.append(starts[-1] + num_refreshes * periods[-1])
        periods.append(min(2 * periods[-1], last))
    return _rare_variance.Refreshes(tuple(starts), tuple(periods))
