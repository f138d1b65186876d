"""Geometric median: the point with the smallest sum of distances to all workers.

The constant of a rule must hold for the program, not only for its formula. The
geometric median is the minimizer of a sum, but Weiszfeld's iteration from the mean
stops, or is stopped, at another point. Attackers at the right distance once moved it
thousands of times farther than proved: smoothing and tolerance were relative to the
mean distance from the mean, which attackers choose. So the iteration starts among the
majority, measures by the radius of the majority, and goes on until the directions to
all workers nearly cancel, which is what the proof needs.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _geometry
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _far

_STOP = 0.5  # length of the sum of all directions up to which the constant is proved
_ENOUGH = 300  # iterations
_ROUNDING = 1e-4  # of a sum of directions
_TIE = 1e-6  # of a sum of distances


def geometric_median(
    tolerance: float = 1e-6, max_iterations: int = 300
) -> _rule.AggregationRule:
    r"""Minimize the sum of distances to all workers, by Weiszfeld's iteration.

    .. math:: F(x_1, \dots, x_W) = \arg\min_z \sum_i \|z - x_i\|, \qquad
       z \leftarrow \frac{\sum_i w_i x_i}{\sum_i w_i}, \quad
       w_i = \frac{1}{\max(\nu, \|z - x_i\|)}

    A worker that is this point is found at once. Otherwise the iteration starts at the
    mean of the half of the workers that is nearest to the most central one. It goes on
    until :math:`z` moves by less than ``tolerance`` times the radius of that half, and
    the directions to all workers add up to less than 1/2; :math:`\nu` is as small as
    such a move. The iteration works on weights; the gradients are added up once.
    Workers that are not finite are left out. Workers that are
    :math:`1/\sqrt{\epsilon}` times (3000 times in float32) farther away than most are
    left out too: the rounding of their distances would hide the other workers.

    Args:
      tolerance: In (0, 1), no unit.
      max_iterations: At least 1. The default was enough in thousands of adversarial
        searches, and 100 were not enough. That it is enough is not proved.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers; equivariant to
      translation, scaling and rotation. Where at least 300 iterations converge, and
      for up to about a hundred workers in float32,
      :math:`\kappa \le \max\bigl(\frac{2(W - f)}{W - 2f - 1/2},
      8 (W - f) \mathrm{tolerance}^2\bigr)`. Seen from :math:`z`, the cosines between
      honest workers and their mean add up to at most :math:`f + 1/2`. Each cosine falls
      short of 1 by no more than twice the worker's squared distance from that mean,
      over the squared distance of :math:`z` from the mean.

    Raises:
      ValueError: If ``tolerance`` or ``max_iterations`` is out of range.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rows = jnp.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
      >>> print(jaxdist.rules.geometric_median()(rows).round(2))
      [1.   0.58]

    References:
      Weiszfeld, 1937; Pillutla et al., `Robust Aggregation for Federated Learning
      <https://arxiv.org/abs/1912.13445>`_, 2022, Algorithm 2, whose :math:`\nu` is an
      absolute number.
    """
    tolerance = _checks.real("tolerance", tolerance, 0, 1, above=True, below=True)
    max_iterations = _checks.integer("max_iterations", max_iterations, 1)

    def mix(geometry, key, memory):
        del key
        return _weiszfeld_search(geometry, tolerance, max_iterations)[None], memory

    def kappa(num_workers, num_byzantine):
        if max_iterations < _ENOUGH:
            return math.inf
        num_honest = num_workers - num_byzantine
        margin = num_honest - num_byzantine - _STOP
        return num_honest * max(2 / margin, 8 * float(tolerance) ** 2)

    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2,
        kappa=kappa,
        knows_absent=True,
        weighs=True,
    )
    return _rule.AggregationRule("geometric_median()", mix=mix, contract=contract)


class _Search(NamedTuple):
    """Where Weiszfeld's iteration has come to."""

    turn: jax.Array  # int32, ()
    weights: jax.Array  # [W], sum 1
    moved: jax.Array  # (): distance of the last step
    pull: jax.Array  # (): length of the sum of all directions before it


def _weiszfeld_search(geometry, tolerance, max_iterations):
    """Return the weights ``[W]`` of the geometric median of those that are near."""
    radius, members, near = _far.find_crowd(geometry)
    both = near[:, None] & near[None]
    # In units of the radius: moves of a millionth of it would vanish when squared.
    distances = jnp.where(both, _far.crowd_distances(geometry), 0)
    radius = (radius > 0).astype(radius.dtype)
    floor = jnp.maximum(tolerance * radius, jnp.finfo(distances.dtype).tiny)
    votes = _votes_of(geometry, near)
    optimal = _start_weights(distances, both, floor, votes)
    is_known = jnp.any(optimal)

    def goes_on(search):
        is_far = (search.moved > tolerance * radius) | (search.pull > _STOP)
        return (search.turn < max_iterations) & is_far

    def step(search):
        away = jnp.maximum(_from_workers(search.weights, distances), floor)
        nearest = jnp.min(jnp.where(near, away, jnp.inf))
        weights = jnp.where(near, votes * nearest / away, 0)
        total = jnp.maximum(jnp.sum(weights), 1)
        weights /= total
        moved = _distances_to((weights - search.weights)[None], distances)[0]
        return _Search(search.turn + 1, weights, moved, moved * total / nearest)

    start = jnp.where(is_known, optimal, members).astype(distances.dtype) * votes
    start /= jnp.maximum(jnp.sum(start), 1)
    left = jnp.where(is_known, jnp.zeros_like(radius), jnp.inf)
    first = _Search(jnp.zeros_like(radius, dtype=jnp.int32), start, left, left)
    return jax.lax.while_loop(goes_on, step, first).weights


def _votes_of(geometry, near):
    """Return how much each worker counts, ``[W]``; 1 on average of those near."""
    ones = near.astype(geometry.squared_norms.dtype)
    if geometry.weight is None:
        return jnp.ones_like(ones)
    votes = geometry.weight.astype(ones.dtype) * ones
    total = jnp.sum(votes)
    return votes * jnp.sum(ones) / jnp.where(total > 0, total, 1)


def _start_weights(distances, both, floor, votes):
    """Return which workers are a geometric median themselves, bool ``[W]``.

    At such a worker the directions to the others add up to no more than the number of
    copies of the worker. Weiszfeld's iteration would come ever closer to it, and never
    close enough. A worker far from the centre of a geometry may only seem to have
    copies; the sum of its distances is larger.
    """
    apart = jnp.sqrt(distances)
    is_other = both & (apart > floor)
    pull = jnp.where(is_other, votes[None] / jnp.where(is_other, apart, 1), 0)
    pulls = _distances_to(pull - jnp.diag(jnp.sum(pull, axis=1)), distances)
    copies = jnp.sum(jnp.where(both & ~is_other, votes[None], 0), axis=1)
    balanced = jnp.diagonal(both) & (pulls <= copies + _ROUNDING)
    sums = jnp.where(balanced, jnp.sum(apart * votes[None], axis=1), jnp.inf)
    return balanced & (sums <= (1 + _TIE) * jnp.min(sums))


def _distances_to(combinations, distances):
    """Return lengths of ``[m, W]`` combinations of workers, each with sum 0."""
    products = _geometry.exact_product(combinations, distances)
    return jnp.sqrt(jnp.maximum(-jnp.sum(products * combinations, axis=1) / 2, 0))


def _from_workers(weights, distances):
    """Return how far all workers are from their mean with weights that add up to 1."""
    to_all = _geometry.exact_product(distances, weights)
    return jnp.sqrt(jnp.maximum(to_all - jnp.sum(weights * to_all) / 2, 0))
