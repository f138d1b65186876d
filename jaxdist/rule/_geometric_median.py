"""Geometric median: the point with the smallest sum of distances to all workers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _rule
from jaxdist.rule import _far


def geometric_median(
    tolerance: float = 1e-6, max_iterations: int = 100
) -> _rule.AggregationRule:
    r"""Minimize the sum of distances to all workers, by Weiszfeld's iteration.

    .. math:: F(x_1, \dots, x_W) = \arg\min_z \sum_i \|z - x_i\|, \qquad
       z \leftarrow \frac{\sum_i w_i x_i}{\sum_i w_i}, \quad
       w_i = \frac{1}{\max(\nu, \|z - x_i\|)}

    It starts at the mean and goes on until :math:`z` moves by less than ``tolerance``
    times the mean distance of the workers from their mean; :math:`\nu` is as small.
    All of it happens in the weights; the gradients are added up once. Workers that are
    not finite are left out, and so are those that are :math:`1/\sqrt{\epsilon}` times
    (3000 times in float32) farther away than most: beside them rounding would hide the
    others.

    Args:
      tolerance: In (0, 1), no unit.
      max_iterations: At least 1. Few iterations are not robust: the start is the mean.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers; equivariant to
      translation, scaling and rotation.

    Raises:
      ValueError: If ``tolerance`` or ``max_iterations`` is out of range.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rows = jnp.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
      >>> print(jaxdist.geometric_median()(rows).round(2))
      [1.   0.58]

    References:
      Weiszfeld, 1937; Pillutla et al., `Robust Aggregation for Federated Learning
      <https://arxiv.org/abs/1912.13445>`_, 2022, Algorithm 2, whose :math:`\nu` is an
      absolute number.
    """
    _checks.real("tolerance", tolerance, 0, 1, above=True, below=True)
    _checks.integer("max_iterations", max_iterations, 1)

    def mix(geometry, key, memory):
        del key
        near = _far.near(geometry)
        return _weiszfeld(geometry, near, tolerance, max_iterations)[None], memory

    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2, kappa=_kappa
    )
    return _rule.AggregationRule("geometric_median()", mix=mix, contract=contract)


class _Search(NamedTuple):
    """Where Weiszfeld's iteration has come to."""

    turn: jax.Array  # int32, ()
    weights: jax.Array  # [W], sum 1
    moved: jax.Array  # (): distance of the last step


def _weiszfeld(geometry, near, tolerance, max_iterations):
    """Return the weights ``[W]`` of the geometric median of those that are near."""
    both = near[:, None] & near[None]
    distances = jnp.where(both, geometry.squared_distances, 0)
    itself = jnp.eye(near.shape[0], dtype=distances.dtype)

    def norms(combinations):
        """Return lengths of ``[m, W]`` combinations of workers, each with sum 0."""
        product = jnp.matmul(combinations, distances, precision="highest")
        return jnp.sqrt(jnp.maximum(-jnp.sum(product * combinations, axis=1) / 2, 0))

    def from_workers(weights):
        return norms(itself * jnp.sum(weights) - weights[None])

    start = near.astype(distances.dtype)
    start /= jnp.maximum(jnp.sum(start), 1)
    scale = jnp.sum(start * from_workers(start))
    floor = jnp.maximum(tolerance * scale, jnp.finfo(distances.dtype).tiny)

    def goes_on(search):
        return (search.turn < max_iterations) & (search.moved > tolerance * scale)

    def step(search):
        away = jnp.maximum(from_workers(search.weights), floor)
        nearest = jnp.min(jnp.where(near, away, jnp.inf))
        weights = jnp.where(near, nearest / away, 0)
        weights /= jnp.maximum(jnp.sum(weights), 1)
        moved = norms((weights - search.weights)[None])[0]
        return _Search(search.turn + 1, weights, moved)

    never = jnp.full_like(scale, jnp.inf)
    first = _Search(jnp.zeros_like(scale, dtype=jnp.int32), start, never)
    return jax.lax.while_loop(goes_on, step, first).weights


def _kappa(num_workers, num_byzantine):
    """Return the constant of Allouah et al., 2023, Table 1."""
    return 4 * ((num_workers - num_byzantine) / (num_workers - 2 * num_byzantine)) ** 2
