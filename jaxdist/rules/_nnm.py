"""Nearest-neighbour mixing: replace each worker by the mean of those near to it."""

import math

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _pre_aggregation, _rule
from jaxdist.rules.numerics import _lowest


def nnm(num_byzantine: int, then: _rule.AggregationRule) -> _rule.AggregationRule:
    r"""Average each worker with its nearest, then aggregate: against heterogeneity.

    .. math:: y_i = \frac{1}{W - f} \sum_{j \in N_i} x_j, \qquad
       F(y_1, \dots, y_W)

    where :math:`N_i` are the :math:`W - f` workers nearest to :math:`i`, itself
    included. Distances are over the whole gradient. Ties go to the lowest index.

    Args:
      num_byzantine: :math:`f`, corrupt workers, in [0, (W-1)/2], or the range of
        ``then``.
      then: :math:`F`, the rule for the mixtures, such as ``trimmed_mean(f)``.

    Returns:
      A rule with :math:`\kappa \le \frac{8f}{W-f}(\kappa_F + 1)`, equivariant to
      translation and scale as far as ``then`` is. It tolerates f, or as many as
      ``then`` where those are fewer: none behind :func:`mean`.

    Raises:
      TypeError: If ``then`` is no rule.
      ValueError: If ``num_byzantine`` is negative; when applied, if it or that of
        ``then`` is too large for the number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.nnm(1, then=jaxdist.rules.trimmed_mean(1))
      >>> print(rule(jnp.array([[1.0], [2.0], [3.0], [100.0]])))
      [2.]

    References:
      Allouah et al., `Fixing by Mixing: A Recipe for Optimal Byzantine ML under
      Heterogeneity <https://arxiv.org/abs/2302.01772>`_, 2023, Algorithm 2.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    _checks.instance(
        "then", then, _rule.AggregationRule, "jaxdist.rules.trimmed_mean(1)"
    )

    def premix(geometry, key):
        del key
        distances, finite = geometry.squared_distances, geometry.finite
        num_near = geometry.num_present(distances.shape[0]) - f
        near = (_lowest.score_ranks(distances) < num_near) & finite[None]
        weights = near.astype(distances.dtype) / jnp.asarray(num_near, distances.dtype)
        weights = jnp.where(finite[:, None], weights, jnp.nan)
        return jnp.where(geometry.present[:, None], weights, 0)

    def kappa(num_workers, _):
        of_mixtures = then.contract.robustness(num_workers, f)
        if math.isinf(of_mixtures):
            return math.inf
        return 8 * f / (num_workers - f) * (of_mixtures + 1)

    contract = _pre_aggregation.mixture_contract(
        f, then, kappa, then.contract.translation_equivariant
    )
    return _pre_aggregation.mix_before(
        then, f"nnm({f})", premix, contract, num_byzantine=f
    )
