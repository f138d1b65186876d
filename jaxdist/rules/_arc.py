"""Adaptive robust clipping: the longest gradients are cut to the next norm."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _norms
from jaxdist.rules import _pre_aggregation, _rule


def arc(num_byzantine: int, then: _rule.AggregationRule) -> _rule.AggregationRule:
    r"""Shorten the longest gradients to the longest of the others, then aggregate.

    .. math:: y_i = \min\Big(1, \frac{\|x\|_{(W-k)}}{\|x_i\|}\Big)\, x_i, \qquad
       k = \Big\lfloor \frac{2f}{W} (W - f) \Big\rfloor, \qquad F(y_1, \dots, y_W)

    where :math:`\|x\|_{(W-k)}` is the :math:`W-k`-th smallest norm: the k longest are
    clipped to the longest of the rest. Norms are over the whole gradient. A worker
    that is not finite counts as the longest, and stays not finite.

    Args:
      num_byzantine: :math:`f`, corrupt workers, in [0, (W-1)/2], or the range of
        ``then``.
      then: :math:`F`, the rule for the clipped gradients, such as
        ``nnm(f, then=trimmed_mean(f))``.

    Returns:
      A rule with :math:`\kappa \le \kappa_F + \frac{2f}{W - 2f}`, equivariant to scale
      as far as ``then`` is, but not to translation. It tolerates f, or as many as
      ``then`` where those are fewer: none behind :func:`mean`. As long as all workers
      are finite its result is bounded by the norms of honest ones, even where ``then``
      fails.

    Raises:
      TypeError: If ``then`` is no rule.
      ValueError: If ``num_byzantine`` is negative; when applied, if it or that of
        ``then`` is too large for the number of workers.

    Communication:
      On the scatter route an all-reduce of 2W floats, for the norms, and one of
      :math:`W^2` where ``then`` needs distances: those of the clipped gradients.

    Example:
      >>> rule = jaxdist.rules.arc(1, then=jaxdist.rules.mean())
      >>> print(rule(jnp.array([[1.0], [2.0], [3.0], [100.0]])))
      [2.25]

    References:
      Allouah et al., `Adaptive Gradient Clipping for Robust Federated Learning
      <https://arxiv.org/abs/2405.14432>`_, 2025, Algorithm 2.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    _checks.instance(
        "then", then, _rule.AggregationRule, "jaxdist.rules.trimmed_mean(1)"
    )

    def premix(geometry, key):
        del key
        lengths = geometry.lengths
        num_workers = geometry.num_present(lengths.shape[0])
        num_clipped = 2 * f * (num_workers - f) // num_workers
        radius = jnp.sort(lengths)[num_workers - num_clipped - 1]
        scales = jnp.where(lengths > radius, radius / lengths, 1)
        scales = jnp.where(geometry.finite, scales, jnp.nan)
        return jnp.where(geometry.present, scales, 0)

    def kappa(num_workers, _):
        # At most k of the W - f honest workers are clipped. Clipping moves their mean
        # by at most 2f / (W - 2f) of the variance that it takes away; the rule errs by
        # kappa of the variance that is left. By Cauchy-Schwarz the constants add up.
        moved = 2 * f / (num_workers - 2 * f)
        return then.contract.robustness(num_workers, f) + moved

    contract = _pre_aggregation.mixture_contract(
        f, then, kappa, translation_equivariant=False
    )
    name = f"arc({f})"
    return _pre_aggregation.mix_before(
        then,
        name,
        premix,
        contract,
        sees=_norms.Norms,
        only_scales=True,
        num_byzantine=f,
    )
