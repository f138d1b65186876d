"""Clipped clustering: the larger of two groups of similar direction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule


class ClippedClusteringState(NamedTuple):
    """What the rule of :func:`clipped_clustering` remembers."""

    norms: jax.Array  # [history], float32: the median norm of each of the last steps
    count: jax.Array  # int32, shape (): steps so far


def clipped_clustering(history: int = 100) -> _rule.AggregationRule:
    r"""Clip to the usual norm, cluster by direction, average the larger cluster.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{|C|} \sum_{i \in C}
       \min\Big(1, \frac{\tau}{\|x_i\|}\Big)\, x_i

    where :math:`\tau` is the median, over this and earlier steps, of the median norm
    of a step, and :math:`C` the larger of two clusters. Beginning with a cluster for
    each worker, the two with the smallest average of :math:`1 - \cos(x_i, x_j)`
    between them are merged until two are left. Ties go to the lowest index. Workers
    that are not finite are in no cluster.

    Args:
      history: How many steps count for :math:`\tau`, at least 1.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers if their directions keep
      them apart. It remembers norms when used in :func:`jaxdist.aggregate`; called on
      stacked gradients it takes those for the first step. It is equivariant to scale,
      not to translation.

    Raises:
      ValueError: If ``history`` is not positive.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rows = jnp.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0]])
      >>> print(jaxdist.rules.clipped_clustering()(rows).round(2))
      [1. 0.]

    References:
      Li et al., `An Experimental Study of Byzantine-Robust Aggregation Schemes in
      Federated Learning <https://arxiv.org/abs/2302.07173>`_, 2023, Section IV. There
      :math:`\tau` is the median over all norms that were ever seen.
    """
    history = _checks.integer("history", history, 1)

    def init(num_workers):
        del num_workers
        return ClippedClusteringState(
            jnp.zeros(history, jnp.float32), jnp.zeros((), jnp.int32)
        )

    def mix(geometry, key, memory):
        del key
        finite = geometry.finite
        lengths = jnp.sqrt(jnp.where(finite, geometry.squared_norms, 0))
        memory = _remember_norms(memory, jnp.where(finite, lengths, jnp.nan))
        radius = _usual_norm(memory).astype(lengths.dtype)
        chosen = _larger_cluster(_angles_apart(geometry, lengths), finite)
        scales = jnp.where(lengths > radius, radius / lengths, 1)
        number = jnp.maximum(jnp.sum(chosen, dtype=lengths.dtype), 1)
        return jnp.where(chosen, scales / number, 0)[None], memory

    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2,
        translation_equivariant=False,
        knows_absent=True,
    )
    return _rule.AggregationRule(
        f"clipped_clustering({history})", mix=mix, contract=contract, init=init
    )


def _remember_norms(memory, lengths):
    """Note the median of the norms that are not NaN, if there are any."""
    median = jnp.nanmedian(lengths).astype(jnp.float32)
    place = memory.count % memory.norms.shape[0]
    known = ClippedClusteringState(memory.norms.at[place].set(median), memory.count + 1)
    is_known = ~jnp.isnan(median)
    return jax.tree.map(lambda new, old: jnp.where(is_known, new, old), known, memory)


def _usual_norm(memory):
    """Return the median of what was noted."""
    noted = jnp.arange(memory.norms.shape[0], dtype=jnp.int32) < memory.count
    return jnp.nanmedian(jnp.where(noted, memory.norms, jnp.nan))


def _angles_apart(geometry, lengths):
    """Return ``1 - cos`` of all angles, without the cancellation of that formula."""
    difference = lengths[:, None] - lengths[None]
    product = 2 * lengths[:, None] * lengths[None]
    distances = (geometry.squared_distances - difference**2) / product
    distances = jnp.where(product > 0, distances, 1)
    return jnp.maximum(distances, distances.T)


@jax.jit  # traced once for all calls outside of a program
def _larger_cluster(distances: jax.Array, finite: jax.Array) -> jax.Array:
    """Return which workers are in the larger of two clusters, bool ``[W]``."""
    num_workers = finite.shape[0]
    possible = finite[:, None] & finite[None] & ~jnp.eye(num_workers, dtype=bool)
    distances = jnp.where(possible, distances, jnp.inf)
    sizes = finite.astype(distances.dtype)
    labels = jnp.arange(num_workers, dtype=jnp.int32)
    labels += jnp.zeros_like(finite, jnp.int32)  # varies as the workers do

    def merge(i, clusters):
        del i
        distances, sizes, labels = clusters
        closest = jnp.argmin(distances).astype(jnp.int32)
        low, high = jnp.divmod(closest, num_workers)
        total = sizes[low] + sizes[high]
        average = (sizes[low] * distances[low] + sizes[high] * distances[high]) / total
        distances = distances.at[low].set(average).at[:, low].set(average)
        distances = distances.at[high].set(jnp.inf).at[:, high].set(jnp.inf)
        return (
            distances,
            sizes.at[low].set(total),
            jnp.where(labels == high, low, labels),
        )

    num_merges = jnp.sum(finite) - 2
    clusters = (distances, sizes, labels)
    _, sizes, labels = jax.lax.fori_loop(0, num_merges, merge, clusters)
    ours = jnp.where(finite, sizes[labels], 0)
    return finite & (labels == labels[jnp.argmax(ours)])
