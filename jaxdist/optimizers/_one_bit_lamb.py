"""1-bit LAMB: LAMB for a while, then signs, and scales of layers that go on from it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.aggregation import _share_momentum
from jaxdist.compression import _compressor
from jaxdist.optimizers import (
    _adam,
    _descent,
    _frozen_adam,
    _one_bit_adam,
)
from jaxdist.rules import _rule


class OneBitLambState(NamedTuple):
    """State of :func:`one_bit_lamb`; equal on all workers but for residuals."""

    count: jax.Array  # int32, shape ()
    refreshes: jax.Array  # int32, shape (); gradients in the variance
    momentum: Any  # like the parameters, float32 or wider
    variance: Any  # like the parameters, real, float32 or wider
    whole: Any  # state of the aggregation of gradients, in the warm-up
    sent: Any  # state of the aggregation of momenta, after it
    renewals: jax.Array  # int32, shape (); gradients in the fresh variance
    fresh: Any  # like the variance: of what the momentum says about gradients
    coefficients: Any  # for each leaf, real, shape (); 0 before the first
    factors: Any  # for each leaf, real, shape ()


def one_bit_lamb(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    warm_up: int,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    coefficient_decay: float = 0.9,
    min_coefficient: float = 0.01,
    max_coefficient: float = 10.0,
    min_factor: float = 0.5,
    max_factor: float = 4.0,
    max_change: float = 0.1,
    max_ratio: float | None = 3.0,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    downlink: _compressor.AnyCompressor | None = None,
    warm_up_compressor: _compressor.AnyCompressor | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Run LAMB for ``warm_up`` steps, then send the signs of a common momentum.

    .. math:: u = \frac{m}{\sqrt{v} + \epsilon} + \lambda x, \qquad
       x \leftarrow x - \eta\, c\, u, \qquad
       c = \begin{cases} \|x\| / \|u\| & \text{in the warm-up} \\
       \bar c\, r & \text{after it} \end{cases}

    :math:`m` and :math:`v` are those of :func:`one_bit_adam`: :math:`v` is frozen after
    the warm-up. So is :math:`\bar c`, the moving average of :math:`c` of each leaf. The
    factor :math:`r` follows how gradients change: a fresh variance :math:`\tilde v`
    goes on from :math:`v` with what the common momentum says about them,

    .. math:: \tilde g = \frac{m_t - \beta_1 m_{t-1}}{1 - \beta_1}, \qquad
       r = \max_j \frac{\sqrt{v_j} + \epsilon}{\sqrt{\tilde v_j} + \epsilon}

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, one_bit_lamb("data", 1e-3, warm_up=1000), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule: by which share
        of its norm a layer moves in a step. Its own warm-up should end before that of
        the variance.
      warm_up: Steps of plain LAMB, at least 1; the paper takes 15 to 20 % of all.
      b1: :math:`\beta_1` in [0, 1), no unit.
      b2: :math:`\beta_2` in [0, 1), no unit.
      eps: :math:`\epsilon \ge 0`.
      weight_decay: :math:`\lambda \ge 0`, as in ``optax.lamb``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      coefficient_decay: Of the moving average :math:`\bar c`, in [0, 1), no unit.
      min_coefficient: The least that :math:`c` may be in the warm-up, at least 0.
      max_coefficient: The most that it may be.
      min_factor: The least that :math:`r` may be, above 0 and at most 1, no unit.
      max_factor: The most that it may be, at least 1.
      max_change: Share by which :math:`r` changes in a step at most, in (0, 1).
      max_ratio: As in :func:`one_bit_adam`.
      rule: As in :func:`jaxdist.aggregate`, of gradients and of momenta.
      compressor: As in :func:`one_bit_adam`.
      downlink: As in :func:`one_bit_adam`.
      warm_up_compressor: As in :func:`one_bit_adam`.
      key: Seed or key of everything random; the same on all workers.

    Returns:
      An optimizer, as :func:`one_bit_adam` returns it. It needs ``params``. A leaf is a
      layer; one that is zero, or does not move, has a coefficient of 1, which the
      average leaves out. Norms are of whole leaves, also of those that are sharded
      inside of a worker; what maps the axis of shards by hand sees a shard as a leaf.

    Raises:
      TypeError: If ``rule`` or a compressor is none.
      ValueError: If a number is out of range, or ``mask`` is none; in ``update``,
        without ``params``; and as :func:`jaxdist.aggregate` raises.

    Communication:
      As :func:`one_bit_adam`, and an all-reduce of two norms for each leaf, in float32.
      Memory: 16 bytes per weight and 4/W.

    Example:
      >>> tx = jaxdist.optimizers.one_bit_lamb("data", 1e-3, warm_up=100)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> for step in (0, 100):
      ...     report = jaxdist.communication_report(tx, params, 8, step=step)
      ...     print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      7.0 1.0
      0.22 32.0

    References:
      Li et al., `1-bit LAMB: Communication Efficient Large-Scale Large-Batch Training
      with LAMB's Convergence Speed <https://arxiv.org/abs/2104.06069>`_, 2021,
      Algorithm 1. There moments and averages are not corrected for their start at
      zero, no ratio is limited, and leaves travel as one message, for which their
      momenta are brought to one scale; here each has its own.
    """
    adam = _frozen_adam.frozen_after(
        *(warm_up, axis_name, b1, b2, eps, max_ratio),
        ways=_frozen_adam.Ways(
            rule, compressor, downlink, warm_up_compressor, warm_up_compressor, key
        ),
    )
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)
    limits = _checked_limits(
        coefficient_decay,
        (min_coefficient, max_coefficient),
        (min_factor, max_factor),
        max_change,
    )
    lamb = _FrozenLamb(adam, warm_up, descent, limits)
    return _descent.whole_optimizer(
        *(axis_name, "one_bit_lamb", OneBitLambState, lamb.init, lamb.direct),
        # Weights decay before layers are scaled.
        dataclasses.replace(descent, weight_decay=0.0),
    )


class _Limits(NamedTuple):
    """Within which coefficients and factors stay."""

    decay: Any
    coefficient: tuple[Any, Any]
    factor: tuple[Any, Any]
    change: Any


def _checked_limits(decay, coefficient, factor, change):
    """Return the limits, or raise."""
    real = _checks.real
    lowest = real("min_coefficient", coefficient[0], 0.0, static=True)
    return _Limits(
        real("coefficient_decay", decay, 0.0, 1.0, below=True),
        (lowest, real("max_coefficient", coefficient[1], lowest, above=True)),
        (
            real("min_factor", factor[0], 0.0, 1.0, above=True),
            real("max_factor", factor[1], 1.0),
        ),
        real("max_change", change, 0.0, 1.0, above=True, below=True),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _FrozenLamb:
    """Frozen Adam, whose steps get a length for each leaf."""

    adam: _frozen_adam.FrozenAdam
    warm_up: int
    descent: _descent.Descent
    limits: _Limits

    def init(self, params):
        """Return the state before the first step."""
        kind = _one_bit_adam.OneBitAdamState
        first: _one_bit_adam.OneBitAdamState = self.adam.init(kind, params)
        # A sum of zeros varies over the same axes as they do.
        nothing = jax.tree.map(jnp.sum, first.variance)
        ones = jax.tree.map(lambda leaf: leaf + 1, nothing)
        fresh = jax.tree.map(jnp.zeros_like, first.variance)
        return OneBitLambState(*first, jnp.zeros((), jnp.int32), fresh, nothing, ones)

    def direct(self, step, state):
        """Return the direction, of which each leaf has its length, and the state."""
        if step.params is None:
            raise ValueError(
                "`params` are needed for the norms of layers, got None: call "
                "tx.update(updates, state, params)."
            )
        plain, fields = self.adam.step(step, state)
        first = _one_bit_adam.OneBitAdamState(*fields)
        is_warm = state.count < self.warm_up
        renewals, fresh = self._renew_variance(step, state, first, is_warm)
        whole = self.descent.with_decay(plain, step.params)
        norms = _common_norms(self.adam.moments.axis_name, step.params, whole)
        ratios = jax.tree.map(self._trust_ratio, *norms)
        keep = _share_momentum.keep_finite
        average = jax.tree.map(self._average_ratio, ratios, *norms, state.coefficients)
        average = keep(average, state.coefficients, is_warm & step.is_there)
        factors = self._find_factors(plain, norms[1], first, (renewals, fresh))
        factors = jax.tree.map(self._change_slowly, factors, state.factors)
        factors = keep(factors, state.factors, ~is_warm & step.is_there)

        def scale(leaf, ratio, average, factor):
            frozen = jnp.where(average > 0, average, 1) * factor
            return leaf * jnp.where(is_warm, ratio, frozen).astype(leaf.dtype)

        direction = jax.tree.map(scale, whole, ratios, average, factors)
        return direction, OneBitLambState(*first, renewals, fresh, average, factors)

    def _renew_variance(self, step, state, first, is_warm):
        """Return how many gradients are in the fresh variance, and the variance."""
        b1, b2 = self.adam.moments.decays

        def square(new, old):
            return jnp.abs((new - b1 * old) / (1 - b1)) ** 2

        squares = jax.tree.map(square, first.momentum, state.momentum)
        moved = _share_momentum.moved_momentum(b2, squares, state.fresh)
        moved = _share_momentum.keep_finite(moved, state.fresh, step.is_there)
        fresh = jax.tree.map(
            lambda old, new: jnp.where(is_warm, old, new), first.variance, moved
        )
        there = jnp.asarray(step.is_there, jnp.int32)
        return jnp.where(is_warm, first.refreshes, state.renewals + there), fresh

    def _trust_ratio(self, weights, step):
        """Return the coefficient of plain LAMB."""
        ratio = weights / jnp.where(step == 0, 1, step)
        ratio = jnp.clip(ratio, *self.limits.coefficient)
        return jnp.where((weights == 0) | (step == 0), 1, ratio)

    def _average_ratio(self, ratio, weights, step, before):
        """Return the moving average with this ratio, or as it is without norms."""
        decay = self.limits.decay
        mixed = decay * before + (1 - decay) * ratio
        mixed = jnp.where(before > 0, mixed, ratio)
        return jnp.where((weights == 0) | (step == 0), before, mixed)

    def _find_factors(self, plain, norms, first, renewed):
        """Return the factor that gradients ask for, within its limits."""
        renewals, fresh = renewed
        known = _adam.without_bias
        b2, eps = self.adam.moments.decays[1], self.adam.eps
        old = known(first.variance, b2, first.refreshes)

        def factor(step, norm, old, new):
            # Where the variance is zero nothing moves, and nothing is known.
            roots = jnp.sqrt(jnp.where(old > 0, old, 1)) + eps
            ratios = jnp.where(old > 0, roots / (jnp.sqrt(new) + eps), 0)
            largest = jnp.max(ratios, initial=0)
            largest = jnp.where(largest > 0, largest, 1)
            # The decay of weights is a part of the step that gradients do not scale.
            share = jnp.sqrt(jnp.sum(jnp.abs(step) ** 2)) / jnp.where(norm > 0, norm, 1)
            share = jnp.where(norm > 0, jnp.minimum(share, 1), 1)
            return jnp.clip(largest * share + 1 - share, *self.limits.factor)

        return jax.tree.map(factor, plain, norms, old, known(fresh, b2, renewals))

    def _change_slowly(self, factor, before):
        """Return the factor, not far from the one before."""
        change = self.limits.change
        return jnp.clip(factor, before * (1 - change), before * (1 + change))


def _common_norms(axis_name, *trees):
    """Return trees of the norms of leaves: means over workers, so that all agree."""

    def norm(leaf):
        return jnp.sqrt(jnp.sum(jnp.abs(_tree.widened(leaf)) ** 2))

    norms = jax.tree.map(norm, trees)
    nbytes = sum(map(_tree.leaf_nbytes, jax.tree.leaves(norms)))
    with _traffic.contents([_traffic.Content("(norms)", nbytes)]):
        total = _collectives.psum(norms, axis_name)
    num_workers = _collectives.axis_size(axis_name)
    return jax.tree.map(lambda leaf: leaf / num_workers, total)
