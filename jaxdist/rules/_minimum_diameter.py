"""Minimum diameter: the mean of the W - f workers that lie closest together."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from jaxdist import _checks
from jaxdist.rules import _best_subset, _rule
from jaxdist.rules.numerics import _far, _subsets


def minimum_diameter(num_byzantine: int) -> _rule.AggregationRule:
    r"""Average the subset of W - f workers whose farthest pair is nearest.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{W - f} \sum_{i \in S^*} x_i, \qquad
       S^* = \arg\min_{|S| = W - f} \max_{i, j \in S} \|x_i - x_j\|

    All subsets are compared, by their distances over the whole gradient. Ties go to
    the first in lexicographic order. Workers that are not finite are in none.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2]; at most a
        million subsets.

    Returns:
      A rule equivariant to translation, scaling and rotation. The error is at most
      :math:`2f/(W-f)` of the honest diameter, so :math:`\kappa \le 8f^2/(W-f)`. It
      is not symmetric: many subsets may have the same farthest pair.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers, or leaves too many subsets.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.minimum_diameter(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [3.0], [100.0]])))
      [2.]

    References:
      El Mhamdi et al., `The Hidden Vulnerability of Distributed Learning in Byzantium
      <https://arxiv.org/abs/1802.07927>`_, 2018, "Brute".
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def best(geometry):
        score = functools.partial(_subset_diameters, *_farthest_pairs(geometry, f))
        return jnp.argmin(_subsets.subset_scores(score, geometry, f))

    def kappa(num_workers, f):
        return 8 * f**2 / (num_workers - f)

    rule = _best_subset.best_subset(f"minimum_diameter({f})", f, best, kappa)
    contract = dataclasses.replace(rule.contract, symmetric=False)
    return dataclasses.replace(rule, contract=contract)


def _farthest_pairs(geometry, num_byzantine):
    """Return distances and members of the farthest pairs, enough for every subset.

    The f workers that a subset leaves out are in at most f (W - 1) pairs. So of one
    pair more, at least one is whole in every subset.
    """
    distances = _far.crowd_distances(geometry)
    num_workers = distances.shape[0]
    one, other = np.triu_indices(num_workers, 1)
    number = min(num_byzantine * (num_workers - 1) + 1, one.size)
    order = jnp.argsort(-distances[one, other])[:number]
    pair = jnp.stack([jnp.asarray(one)[order], jnp.asarray(other)[order]])
    return distances[pair[0], pair[1]], pair


def _subset_diameters(distances, pair, kept):
    """Return the squared diameter of each subset of ``[n, W]``."""
    workers = jnp.arange(kept.shape[1])[:, None]
    inside = (workers == pair[0][None]) | (workers == pair[1][None])
    # Sums of 0 and 1 are exact; a product is faster than looking up the members.
    present = kept.astype(distances.dtype) @ inside.astype(distances.dtype)
    return jnp.max(jnp.where(present > 1.5, distances[None], 0), axis=1, initial=0)
