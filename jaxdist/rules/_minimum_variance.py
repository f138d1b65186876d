"""Minimum variance: the mean of the W - f workers that scatter least."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _best_subset, _rule
from jaxdist.rules.numerics import _far, _subsets


def minimum_variance(num_byzantine: int) -> _rule.AggregationRule:
    r"""Average the subset of W - f workers with the smallest variance.

    .. math:: F(x_1, \dots, x_W) = \bar{x}_{S^*}, \qquad
       S^* = \arg\min_{|S| = W - f} \sum_{i \in S} \|x_i - \bar{x}_S\|^2

    All subsets are compared, by their distances over the whole gradient. Ties go to
    the first in lexicographic order. Workers that are not finite are in none.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2]; at most a
        million subsets.

    Returns:
      A rule equivariant to translation, scaling and rotation, with
      :math:`\kappa \le 4f/(W - 2f)`. Take the mean of the workers that are both honest
      and in :math:`S^*`. The squared distances of :math:`\bar{x}_S` of the honest and
      of :math:`\bar{x}_{S^*}` from it are at most :math:`f/(W - 2f)` of their variance.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers, or leaves too many subsets.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.minimum_variance(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [3.0], [100.0]])))
      [2.]

    References:
      Farhadkhani et al., `Byzantine Machine Learning Made Easy by Resilient Averaging
      of Momentums <https://arxiv.org/abs/2205.12173>`_, 2022.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def best(geometry):
        distances = _far.crowd_distances(geometry)

        def variances(kept):
            chosen = kept.astype(distances.dtype)
            to_all = jnp.matmul(chosen, distances, precision="highest")
            return jnp.sum(jnp.where(kept, to_all, 0), axis=1)

        return jnp.argmin(_subsets.subset_scores(variances, geometry, f))

    name = f"minimum_variance({f})"
    return _best_subset.best_subset(name, f, best, _best_subset.kappa_of_spread)
