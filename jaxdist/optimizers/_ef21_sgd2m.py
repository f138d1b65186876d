"""EF21-SGD2M: what is compressed is how far a momentum of a momentum has come."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.compression import _by_leaf, _compressor, _ef21, _top_k
from jaxdist.optimizers import _descent, _ways
from jaxdist.rules import _rule
from jaxdist.workers import _weight, _worker_state


class Ef21Sgd2mState(NamedTuple):
    """State of :func:`ef21_sgd2m`."""

    count: jax.Array  # int32, shape (); equal on all workers
    own: _worker_state.PerWorkerState  # an OwnMomenta; varies over workers
    sent: Any  # state of the aggregation, with the estimates


class OwnMomenta(NamedTuple):
    """What a worker makes of its gradients."""

    count: jax.Array  # int32, shape (); steps of this worker
    first: Any  # of gradients; like the parameters, float32 or wider
    second: Any  # of the first momentum; like it


def ef21_sgd2m(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.Compressor | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    weighted: bool = False,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Send changes of a momentum of a momentum, which the receivers add up.

    .. math:: v_i \leftarrow \beta v_i + (1 - \beta) g_i, \quad
       u_i \leftarrow \beta u_i + (1 - \beta) v_i, \quad
       h_i \leftarrow h_i + C(u_i - h_i), \quad
       x \leftarrow x - \eta\, \frac{1}{W}\sum_i h_i

    SGD that converges with any contraction and any batch size, also where the workers'
    data differ. Both momenta start at the first gradient, and :math:`h_i` at 0, so that
    the first steps are small.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, ef21_sgd2m("data", 0.1), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule; that of SGD.
      momentum: :math:`\beta` in [0, 1), no unit, of both; the paper writes
        :math:`1 - \eta`. 0 is :func:`jaxdist.compression.ef21` before SGD.
      weight_decay: Share of the weights that is taken off in units of
        :math:`\eta`, as in ``optax.adamw``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      rule: As in :func:`jaxdist.aggregate`, of the estimates :math:`h_i`, which are
        dense, so that rules can compare them.
      compressor: :math:`C`, a contraction that remembers nothing; ``top_k(0.01)`` when
        None. Small leaves travel as they are.
      downlink: As in :func:`jaxdist.aggregate`. Without it each worker hears all
        others, and the bytes grow with W; ``ef21(top_k(0.01))`` has no such growth.
      weighted: Whether ``weight=`` will be given. Receivers then remember one estimate
        for each worker, since a mean of estimates cannot be weighed again.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer. Updates are equal on all workers. A worker of ``weight=0`` neither
      moves its momenta nor sends; without any worker nothing moves. Where a gradient is
      not finite, both momenta keep their values.

    Raises:
      TypeError: If ``rule`` or a compressor is none.
      ValueError: If a number is out of range, ``mask`` is none, or ``compressor`` is no
        contraction; and as :func:`jaxdist.aggregate` raises.

    Communication:
      That of ``compressor``: with top-k at ``density`` 0.01 all-gathers of
      (W-1) · 0.08 bytes per weight. Memory: 16 bytes per weight, two momenta, the
      estimate of this worker and the mean of all; with other rules than the mean, or
      ``weighted``, 12 + 4 W.

    Example:
      >>> tx = jaxdist.optimizers.ef21_sgd2m("data", 0.1)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> report = jaxdist.communication_report(tx, params, 8)
      >>> print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      0.56 12.5

    References:
      Fatkhullin et al., `Momentum Provably Improves Error Feedback!
      <https://arxiv.org/abs/2305.15155>`_, 2023, EF21-SGD2M. There estimates start at
      the first gradient too, which travels as it is.
    """
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)
    momentum = _checks.real("momentum", momentum, 0.0, 1.0, below=True)
    if compressor is None:
        compressor = _top_k.top_k(0.01)
    policy = _by_leaf.by_leaf(_ef21.ef21(compressor))
    inner = _ways.bind_way(axis_name, rule, policy, downlink, key, weighted=weighted)
    momenta = _TwoMomenta(axis_name, momentum, inner)
    return _descent.whole_optimizer(
        *(axis_name, "ef21_sgd2m", Ef21Sgd2mState),
        *(momenta.init, momenta.direct, descent),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _TwoMomenta:
    """Own momenta, and common estimates of them."""

    axis_name: _collectives.AxisName
    decay: Any
    inner: optax.GradientTransformationExtraArgs

    def init(self, params):
        """Return the state before the first step."""
        sent = _share_momentum.init_wide(self.inner, params)
        zeros = jax.tree.map(_tree.wide_zeros, params)
        own = OwnMomenta(jnp.zeros((), jnp.int32), zeros, zeros)
        marked = _worker_state.attach_axis(own, self.axis_name)
        return Ef21Sgd2mState(jnp.zeros((), jnp.int32), marked, sent)

    def direct(self, step, state):
        """Return the estimate of all, and the state after the step."""
        before = _worker_state.detach_axis(state.own)
        own = self._moved(before, step.updates, step.extra.get("weight"))
        arrived = _share_momentum.make_common(
            self.axis_name, self.inner, own.second, state.sent, step.params, step.extra
        )
        marked = _worker_state.attach_axis(own, self.axis_name)
        count = _tree.next_count(state.count)
        return arrived.values, Ef21Sgd2mState(count, marked, arrived.inner_state)

    def _moved(self, own, updates, weight):
        """Return both momenta after a gradient, where this worker is there."""
        here = weight is None or _weight.own_weight(weight, self.axis_name) > 0
        is_first = own.count == 0

        def move(old, new):
            mixed = _share_momentum.moved_momentum(self.decay, new, old)
            started = jax.tree.map(
                lambda mix, leaf: jnp.where(is_first, leaf.astype(mix.dtype), mix),
                *(mixed, new),
            )
            return _share_momentum.keep_finite(started, old, here)

        first = move(own.first, updates)
        count = own.count + jnp.asarray(here).astype(jnp.int32)
        return OwnMomenta(count, first, move(own.second, first))
