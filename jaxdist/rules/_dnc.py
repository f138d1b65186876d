"""Divide and conquer: the mean without the workers farthest out in one direction."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _lowest


def dnc(num_byzantine: int, num_removed: int | None = None) -> _rule.AggregationRule:
    r"""Remove the workers with the largest part in the top singular direction.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{W - r} \sum_{i \in T} x_i, \qquad
       s_i = \langle x_i - \bar{x}, v \rangle^2

    where :math:`v` is the direction in which the centred gradients vary most and
    :math:`T` are the :math:`W - r` workers of the smallest :math:`s_i`. Ties go to the
    lowest index. Workers that are not finite are the first to be removed.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].
      num_removed: :math:`r \ge f`, how many to remove, :math:`cf` in the paper; f when
        None.

    Returns:
      A rule equivariant to translation, scaling and rotation.

    Raises:
      ValueError: If ``num_byzantine`` is negative or ``num_removed`` below it; when
        applied, if ``num_byzantine`` is too large for the number of workers, or
        ``num_removed`` leaves no worker.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.dnc(num_byzantine=1)
      >>> rows = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [2.0, 9.0]])
      >>> print(rule(rows).round(3))
      [2. 0.]

    References:
      Shejwalkar and Houmansadr, `Manipulating the Byzantine: Optimizing Model Poisoning
      Attacks and Defenses for Federated Learning
      <https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/>`_,
      2021, Algorithm 2. There :math:`v` comes from random subsets of the coordinates,
      to save time, and a worker is kept that is kept in all of several. The
      eigenvectors of W x W products cost almost nothing, so here all coordinates are
      looked at, once.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    r = f if num_removed is None else _checks.integer("num_removed", num_removed, f)

    def requires(num_workers):
        if r >= num_workers:
            raise ValueError(
                f"`num_removed` must lie in [{f}, {num_workers - 1}] for "
                f"{num_workers} workers, got {r}."
            )

    def mix(geometry, key, memory):
        del key
        _, vectors = jnp.linalg.eigh(geometry.centred())
        scores = jnp.where(geometry.finite, vectors[:, -1] ** 2, jnp.inf)
        return _lowest.mean_weights(
            scores, geometry.num_present(scores.shape[0]) - r
        ), memory

    contract = _rule.RuleContract(_rule.constant_count(f), knows_absent=True)
    name = f"dnc({f})" if r == f else f"dnc({f}, {r})"
    return _rule.AggregationRule(name, mix=mix, contract=contract, requires=requires)
