"""Representatives: a few workers, shards or examples that stand for all others."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree

_ROUNDING = 16  # eps that sums may differ by in another order of their terms


class Representatives(NamedTuple):
    """Result of :func:`representatives`."""

    indices: jax.Array  # int32 [num], in the order in which they were chosen
    weights: jax.Array  # float32 or wider [num]: how many each stands for, itself too


def representatives(distances: Any, num: int) -> Representatives:
    r"""Choose points to which all points are near (greedy facility location).

    .. math:: s_k = \arg\min_s \sum_i \min(d_{is}, d_{is_1}, \dots, d_{is_{k-1}})

    Each choice makes the sum of distances to the nearest representative as small as one
    more point can. So the first k of ``num`` are those of k. Counted down from W times
    the largest distance, the sum falls by at least 63 % of what the best ``num`` points
    would take away. Ties go to the lower index, those up to rounding too, since points
    tie often that are nearest to each other.

    For gradients give plain distances, not squared ones. The sum that is made small is
    then a bound of how far the weighted sum of the representatives is from that of all:
    :math:`\|\sum_i g_i - \sum_k w_k g_{s_k}\| \le \sum_i \min_k \|g_i - g_{s_k}\|`.
    Squared distances are taken too; far points then count more, as in k-means.

    Args:
      distances: ``[W, W]``, symmetric and at least 0, in any unit; those of an earlier
        step do too.
      num: Representatives, in [1, W].

    Returns:
      Indices, and weights that count the points nearest to each of them, where two are
      equally near for the one chosen first. Weights sum to the number of known points.

      A point is unknown if its distance to itself is not finite, or none of those to
      known points is: a worker that sent NaN, in the distances of
      :class:`jaxdist.rules.Geometry` as well as of NumPy. It is never chosen and never
      counted. Any other distance that is not finite counts as the largest that is. With
      fewer known points than ``num`` the rest of the indices repeat the first, with
      weight 0; with none all weights are 0.

    Raises:
      ValueError: If ``distances`` is no square matrix of real numbers, or ``num`` is
        out of range.

    Communication:
      None; O(num W²) operations. Equal on all workers if the distances are.

    Example:
      >>> points = jnp.array([0.0, 0.1, 0.2, 5.0, 5.1, jnp.nan])
      >>> distances = jnp.abs(points[:, None] - points[None])
      >>> chosen = jaxdist.contrib.representatives(distances, num=2)
      >>> print(chosen.indices, chosen.weights)
      [2 3] [3. 2.]

    References:
      Nemhauser et al., `An Analysis of Approximations for Maximizing Submodular Set
      Functions <https://doi.org/10.1007/BF01588971>`_, 1978, for the greedy choice;
      Mirzasoleiman et al., `Coresets for Data-efficient Training of Machine Learning
      Models <https://arxiv.org/abs/1906.01827>`_, 2020, for gradients; Balakrishnan et
      al., `Diverse Client Selection for Federated Learning via Submodular Maximization
      <https://openreview.net/forum?id=nwKXyFvaUm>`_, 2022, for workers. They maximise
      similarities; those that are a constant minus the distance choose the same.
    """
    table = _distance_table(distances)
    num = _checks.integer("num", num, 1, len(table))
    known = _known_points(table)
    table = _usable_distances(table, known)
    share = 2.0 ** -len(table).bit_length()  # exact; without it W numbers may overflow
    costs = jnp.sum(table * share, axis=0)
    first = _first_largest(jnp.where(known, -costs, -jnp.inf))
    places = jnp.arange(len(table), dtype=jnp.int32)

    def choose(slot, carry):
        nearest, free, indices = carry
        gains = jnp.sum(jnp.maximum(nearest[:, None] - table, 0) * share, axis=0)
        best = _first_largest(jnp.where(free, gains, -jnp.inf))
        best = jnp.where(jnp.any(free), best, first)
        nearest = jnp.minimum(nearest, table[:, best])
        return nearest, free & (places != best), indices.at[slot].set(best)

    indices = jnp.zeros_like(places, shape=(num,)) + first
    start = table[:, first], known & (places != first), indices
    _, _, indices = jax.lax.fori_loop(1, num, choose, start)
    return Representatives(indices, _cluster_sizes(table[:, indices], known))


def _distance_table(value):
    """Return the distances ``[W, W]`` in float32 or wider, or raise."""
    table = _checks.array("distances", value)
    is_floating = jnp.issubdtype(table.dtype, jnp.floating)
    is_real = is_floating or jnp.issubdtype(table.dtype, jnp.integer)
    is_square = table.ndim == 2 and table.shape[0] == table.shape[1]
    if not (is_real and is_square and table.size):
        raise ValueError(
            "`distances` must be a matrix [W, W] of real numbers, got "
            f"{table.dtype} {table.shape}."
        )
    return table.astype(
        _tree.accumulator_dtype(table.dtype) if is_floating else jnp.float32
    )


def _known_points(table):
    """Return which points have a place, bool ``[W]``."""
    finite = jnp.isfinite(table)
    itself = jnp.eye(len(table), dtype=bool)
    present = jnp.diagonal(finite)
    meets = jnp.any(finite & present[None] & ~itself, axis=1)
    return present & (meets | (jnp.sum(present) == 1))


def _usable_distances(table, known):
    """Return finite distances; rows of unknown points are 0, so that none costs."""
    usable = jnp.isfinite(table) & known[:, None] & known[None]
    largest = jnp.max(jnp.where(usable, table, 0))
    return jnp.where(known[:, None], jnp.where(usable, table, largest), 0)


def _first_largest(values):
    """Return the first index of the largest value, or of one that rounding explains."""
    largest = jnp.max(values)
    rounding = _ROUNDING * jnp.finfo(values.dtype).eps * jnp.abs(largest)
    return jnp.argmax(values >= largest - rounding).astype(jnp.int32)


def _cluster_sizes(to_chosen, known):
    """Return how many known points are nearest to each column ``[W, num]``."""
    nearest = jnp.argmin(to_chosen, axis=1)
    places = jnp.arange(to_chosen.shape[1])
    belongs = known[:, None] & (nearest[:, None] == places[None])
    return jnp.sum(belongs.astype(to_chosen.dtype), axis=0)
