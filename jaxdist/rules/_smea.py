"""SMEA: the mean of the W - f workers that scatter least in their worst direction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _geometry
from jaxdist.rules import _best_subset, _rule
from jaxdist.rules.numerics import _far, _subsets

_STEPS = 8  # of power iteration, for bounds
_SOLVED = 16  # subsets whose eigenvalues are computed together
_MARGIN = 1e-4  # relative; far more than the rounding of a bound


def smea(num_byzantine: int) -> _rule.AggregationRule:
    r"""Average the subset of W - f workers with the smallest maximum eigenvalue.

    .. math:: F(x_1, \dots, x_W) = \bar{x}_{S^*}, \qquad S^* =
       \arg\min_{|S| = W - f} \lambda_{\max}\Bigl(\frac{1}{|S|} \sum_{i \in S}
       (x_i - \bar{x}_S)(x_i - \bar{x}_S)^\top\Bigr)

    The search is exact: a few steps of power iteration bound every subset's eigenvalue
    from below, and subsets are solved in the order of their bounds until no other can
    be better. Ties go to the first in lexicographic order. Workers that are not finite
    are in no subset.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2]; at most a
        million subsets.

    Returns:
      A rule equivariant to translation, scaling and rotation. The squared error is at
      most :math:`4f/(W - 2f)` times the largest eigenvalue of the honest covariance,
      the variance in its worst direction, and so in all: the proof is that of
      :func:`minimum_variance`, along the error.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers, or leaves too many subsets.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.smea(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [3.0], [100.0]])))
      [2.]

    References:
      Allouah et al., `On the Privacy-Robustness-Utility Trilemma in Distributed
      Learning <https://arxiv.org/abs/2302.04787>`_, 2023.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def best(geometry):
        return _find_smallest(geometry, f)

    return _best_subset.best_subset(f"smea({f})", f, best, _best_subset.kappa_of_spread)


class _Search(NamedTuple):
    """How far the search has come."""

    solved: jax.Array  # int32, (): subsets in the order of their bounds
    value: jax.Array  # (): the smallest of their eigenvalues
    number: jax.Array  # int32, (): of the subset that has it


def _find_smallest(geometry: _geometry.Geometry, num_byzantine: int) -> jax.Array:
    """Return the number of the subset with the smallest eigenvalue."""
    distances = _far.crowd_distances(geometry)

    def lower_bounds(kept):
        return _rayleigh_quotients(distances, kept)

    bounds = _subsets.subset_scores(lower_bounds, geometry, num_byzantine)
    order = jnp.argsort(bounds, stable=True).astype(jnp.int32)
    bounds = bounds[order] * (1 - _MARGIN)
    together = min(_SOLVED, order.shape[0])

    def may_be_better(search):
        bound = bounds[jnp.minimum(search.solved, order.shape[0] - 1)]
        return (search.solved < order.shape[0]) & (bound < search.value)

    def solve(search):
        numbers = jax.lax.dynamic_slice_in_dim(order, search.solved, together)
        kept = _subsets.subset_members(numbers, num_byzantine, distances.shape[0])
        kept &= geometry.present[None]
        values = _largest_eigenvalues(distances, kept)
        without = jnp.all(~kept | geometry.finite[None], axis=1)
        values = jnp.where(without & jnp.isfinite(values), values, jnp.inf)
        value = jnp.minimum(jnp.min(values), search.value)
        numbers = jnp.where(values == value, numbers, order.shape[0])
        previous = jnp.where(search.value == value, search.number, order.shape[0])
        number = jnp.minimum(jnp.min(numbers), previous)
        return _Search(search.solved + together, value, number)

    nothing = jnp.zeros_like(bounds[0], dtype=jnp.int32)
    start = _Search(nothing, jnp.full_like(bounds[0], jnp.inf), nothing)
    return jax.lax.while_loop(may_be_better, solve, start).number


def _rayleigh_quotients(distances, kept):
    """Return lower bounds ``[n]`` of the eigenvalues, times W - f."""
    size = jnp.sum(kept, axis=1, keepdims=True).astype(distances.dtype)

    def centred(vectors):
        mean = jnp.sum(jnp.where(kept, vectors, 0), axis=1, keepdims=True) / size
        return jnp.where(kept, vectors - mean, 0)

    def times_products(vectors):
        product = jnp.matmul(vectors, distances, precision="highest")
        return centred(-product / 2)

    def normalized(vectors):
        largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
        vectors = vectors / jnp.where(largest > 0, largest, 1)
        squared = jnp.sum(vectors**2, axis=1, keepdims=True)
        return vectors / jnp.sqrt(jnp.where(squared > 0, squared, 1))

    # Start in the direction of the worker that is farthest from all others.
    to_all = jnp.matmul(kept.astype(distances.dtype), distances, precision="highest")
    farthest = jnp.argmax(jnp.where(kept, to_all, -1), axis=1)
    vectors = normalized(centred(-distances[farthest]))
    for _ in range(_STEPS):
        vectors = normalized(times_products(vectors))
    return jnp.sum(vectors * times_products(vectors), axis=1)


def _largest_eigenvalues(distances, kept):
    """Return the largest eigenvalue ``[n]`` of each subset's inner products."""
    both = kept[:, :, None] & kept[:, None]
    size = jnp.sum(kept, axis=1)[:, None].astype(distances.dtype)
    among = jnp.where(both, distances[None], 0)
    to_mean = jnp.sum(among, axis=2) / size
    spread = jnp.sum(to_mean, axis=1, keepdims=True) / size
    products = to_mean[:, :, None] + to_mean[:, None] - among - spread[:, :, None]
    return jnp.linalg.eigvalsh(jnp.where(both, products / 2, 0))[:, -1]
