"""Distributed Lion: each worker has a momentum, and all vote on the sign of a step."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.compression import _compressor, _terngrad
from jaxdist.optimizers import _descent, _ways
from jaxdist.rules import _rule, _sign_majority
from jaxdist.workers import _periodic, _weight, _worker_state


class DistributedLionState(NamedTuple):
    """State of :func:`distributed_lion`."""

    count: jax.Array  # int32, shape (); equal on all workers
    momentum: _worker_state.PerWorkerState  # like params, float32 or wider; varies
    votes: Any  # state of the aggregation of signs
    averages: Any  # state of the aggregation of momenta; () without period


def distributed_lion(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
    mask: _descent.Mask = None,
    *,
    period: int | None = None,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    average_compressor: _compressor.AnyCompressor | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Let all workers vote on the signs of a step of Lion.

    .. math:: u_i = \mathrm{sign}(\beta_1 m_i + (1 - \beta_1) g_i), \quad
       m_i \leftarrow \beta_2 m_i + (1 - \beta_2) g_i, \quad
       x \leftarrow x - \eta\, F(u_1, \dots, u_W)

    Each worker has a momentum of its own. Those drift apart; with ``period`` all get
    their mean now and then, without which large models may lose convergence.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, distributed_lion("data", 1e-4), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule: how far each
        weight moves in a step, a third to a tenth of that of Adam.
      b1: :math:`\beta_1` in [0, 1), no unit.
      b2: :math:`\beta_2` in [0, 1), no unit.
      weight_decay: Share of the weights that is taken off in units of
        :math:`\eta`, as in ``optax.lion``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      period: Optimizer steps after which the workers get the mean of their momenta;
        None for never, as in the paper.
      rule: :math:`F` of the signs, :func:`jaxdist.rules.sign_majority` when None;
        :func:`jaxdist.rules.mean` takes their mean, which may be dense on its way back.
      compressor: Of the signs; None sends three values, -1, 0 and 1, exactly and both
        ways. ``scaled_sign()`` sends a bit, for which zero is one, so that weights
        without any gradient drift.
      downlink: As in :func:`jaxdist.aggregate`; where ``compressor`` is None and the
        rule is the majority, three values as well.
      average_compressor: Of the momenta when they are averaged; None sends them as
        they are. Only with ``period``.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer. Updates are equal on all workers. A worker of ``weight=0`` neither
      votes nor moves its momentum; without any worker nothing moves. Where a vote is
      not finite it does not count, and a momentum keeps its value.

    Raises:
      TypeError: If ``rule`` or a compressor is none.
      ValueError: If a number is out of range, ``mask`` is none, or there is an
        ``average_compressor`` without ``period``; and as :func:`jaxdist.aggregate`
        raises.

    Communication:
      1.6 bits each way, (W-1)/W · 0.4 bytes per weight; with ``period`` k also
      2(W-1)/W · 4/k bytes. Memory: 4 bytes per weight, the momentum.

    Example:
      >>> tx = jaxdist.optimizers.distributed_lion("data", 1e-4)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> report = jaxdist.communication_report(tx, params, 8)
      >>> print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      0.35 20.0

    References:
      Liu et al., `Communication Efficient Distributed Training with Distributed Lion
      <https://arxiv.org/abs/2404.00438>`_, 2024, Algorithm 1. Ishikawa et al., `Lion
      Cub: Minimizing Communication Overhead in Distributed Lion
      <https://arxiv.org/abs/2411.16462>`_, 2024, for averaged momenta.
    """
    b1 = _checks.real("b1", b1, 0.0, 1.0, below=True)
    b2 = _checks.real("b2", b2, 0.0, 1.0, below=True)
    votes = _bind_votes(axis_name, rule, compressor, downlink, key)
    _ways.check_compressors(average_compressor=average_compressor)
    averages = None
    if period is not None:
        period = _checks.integer("period", period, 1)
        averages = _ways.bind_way(axis_name, None, average_compressor, None, key)
    elif average_compressor is not None:
        raise ValueError(
            "`average_compressor` is for momenta that are averaged: give it with "
            f"`period`, got {average_compressor} without."
        )
    lion = _Lion(axis_name, b1, b2, votes, averages, period)
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)
    return _descent.whole_optimizer(
        *(axis_name, "distributed_lion", DistributedLionState),
        *(lion.init, lion.direct, descent),
    )


def _bind_votes(axis_name, rule, compressor, downlink, key):
    """Return the aggregation of signs; without a compressor of three values."""
    rule = _sign_majority.sign_majority() if rule is None else rule
    if compressor is None:
        compressor = _three_values()
        # What else a rule makes of signs has more values, and would be rounded.
        is_vote = isinstance(rule, _rule.AggregationRule) and (
            rule.name == "sign_majority()"
        )
        downlink = _three_values() if downlink is None and is_vote else downlink
    return _ways.bind_way(axis_name, rule, compressor, downlink, key)


def _three_values():
    """Return what sends -1, 0 and 1 exactly: of them nothing is rounded."""
    ternary = _terngrad.terngrad(None)
    contract = dataclasses.replace(ternary.contract, aligned=True)
    return ternary._replace(contract=contract, name="three_values()")


@dataclasses.dataclass(frozen=True, eq=False)
class _Lion:
    """Own momenta and common votes."""

    axis_name: _collectives.AxisName
    b1: Any
    b2: Any
    votes: optax.GradientTransformationExtraArgs
    averages: optax.GradientTransformationExtraArgs | None
    period: int | None

    def init(self, params):
        """Return the state before the first step."""
        momentum = jax.tree.map(_tree.wide_zeros, params)
        votes = _share_momentum.init_wide(self.votes, params)
        averages: Any = ()
        if self.averages is not None:
            averages = _share_momentum.init_wide(self.averages, params)
        own = _worker_state.attach_axis(momentum, self.axis_name)
        return DistributedLionState(jnp.zeros((), jnp.int32), own, votes, averages)

    def direct(self, step, state):
        """Return what the vote says, and the state after the step."""
        momentum = _worker_state.detach_axis(state.momentum)
        moved = _share_momentum.moved_momentum
        wanted = jax.tree.map(jnp.sign, moved(self.b1, step.updates, momentum))
        arrived = _share_momentum.make_common(
            self.axis_name, self.votes, wanted, state.votes, step.params, step.extra
        )
        after = moved(self.b2, step.updates, momentum)
        here = self._is_here(step.extra.get("weight"))
        momentum = _share_momentum.keep_finite(after, momentum, here)
        count = _tree.next_count(state.count)
        momentum, averages = self._average(momentum, state.averages, count, step)
        own = _worker_state.attach_axis(momentum, self.axis_name)
        return arrived.values, DistributedLionState(
            count, own, arrived.inner_state, averages
        )

    def _is_here(self, weight):
        return weight is None or _weight.own_weight(weight, self.axis_name) > 0

    def _average(self, momentum, averages, count, step):
        """Return the momenta after their mean was taken, where it is time to."""
        if self.averages is None or self.period is None:
            return momentum, averages
        here = self._is_here(step.extra.get("weight"))
        average = _Average(self.axis_name, self.averages, here, step)
        momentum = _collectives.to_varying(momentum, self.axis_name)
        return _periodic.run_every(self.period, count, average, (momentum, averages))


# No tuple: a branch needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False)
class _Average:
    """The mean of all momenta, which those who are there go on with."""

    axis_name: _collectives.AxisName
    inner: optax.GradientTransformationExtraArgs
    here: jax.Array | bool
    step: _descent.Step

    def __call__(self, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return the momentum of this worker, and the state of the aggregation."""
        momentum, state = carry
        arrived = _share_momentum.make_common(
            self.axis_name,
            self.inner,
            *(momentum, state, self.step.params, self.step.extra),
        )
        common = _collectives.to_varying(arrived.values, self.axis_name)
        momentum = _share_momentum.keep_finite(common, momentum, self.here)
        return momentum, arrived.inner_state
