"""Krum: the contribution with the closest neighbours."""

import jax
import jax.numpy as jnp

from jaxdist import _checks, _rule


def krum(num_byzantine: int) -> _rule.AggregationRule:
    r"""Choose the worker whose nearest neighbours are nearest.

    .. math:: F(x_1, \dots, x_W) = x_{i^*}, \qquad i^* = \arg\min_i
       \sum_{j \in N_i} \|x_i - x_j\|^2

    where :math:`N_i` are the :math:`W - f - 2` workers nearest to :math:`i`, itself
    excluded. Distances are over the whole gradient, all leaves together. Ties go to
    the lowest index. Workers that are not finite are infinitely far away and never
    chosen; when so many are not finite that no score is, the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-3)/2].

    Returns:
      A rule whose result is one of its inputs; equivariant to translation, scaling
      and rotation.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.krum(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [1.1], [1.4], [9.0], [1.2]])))
      [1.1]

    References:
      Blanchard et al., `Machine Learning with Adversaries: Byzantine Tolerant Gradient
      Descent <https://arxiv.org/abs/1703.02757>`_, 2017, Section 4.
    """
    num_byzantine = _checks.integer("num_byzantine", num_byzantine, 0)
    name = f"krum({num_byzantine})"

    def mix(geometry, key, memory):
        del key
        scores = _scores(geometry.squared_distances, num_byzantine)
        chosen = jnp.arange(scores.shape[0]) == jnp.argmin(scores)
        trusted = jnp.isfinite(jnp.min(scores))
        return (chosen & trusted)[None].astype(scores.dtype), memory

    contract = _rule.RuleContract(
        _rule.always(num_byzantine),
        largest=lambda num_workers: (num_workers - 3) // 2,
        limit="f <= (W-3)/2",
        kappa=lambda num_workers, f: 6 * (num_workers - f) / (num_workers - 2 * f),
    )
    return _rule.AggregationRule(name, mix=mix, contract=contract)


def _scores(squared_distances: jax.Array, num_byzantine: int) -> jax.Array:
    """Return each worker's sum of distances to its nearest neighbours, ``[W]``."""
    num_workers = squared_distances.shape[0]
    num_neighbours = num_workers - num_byzantine - 2
    itself = jnp.eye(num_workers, dtype=bool)
    others = jnp.where(itself, jnp.inf, squared_distances)
    return jnp.sum(jnp.sort(others, axis=1)[:, :num_neighbours], axis=1)
