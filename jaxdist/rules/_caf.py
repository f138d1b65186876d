"""CAF: a spectral filter that does not need the variance of honest workers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _far, _spectrum


def caf(num_byzantine: int) -> _rule.AggregationRule:
    r"""Filter by covariance; keep the mean whose largest eigenvalue was the smallest.

    Every worker first counts :math:`c_i = 1`. With the largest eigenvalue
    :math:`\lambda` and eigenvector :math:`v` of the covariance around the weighted mean
    :math:`\mu_c`,

    .. math:: c_i \leftarrow c_i \Bigl(1 - \frac{\tau_i}{\max_j \tau_j}\Bigr), \qquad
       \tau_i = \langle x_i - \mu_c, v \rangle^2

    while :math:`\sum_i c_i > W - 2f`; the result is the :math:`\mu_c` with the smallest
    :math:`\lambda` of all. Eigenvalues are exact. Every round ends the influence of a
    worker, so there are at most W. Workers that are not finite do not count.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].

    Returns:
      A rule equivariant to translation, scaling and rotation. Its squared error is
      :math:`O(f/W)` times the largest eigenvalue of the honest covariance; the constant
      is not among those that are checked here.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> print(jaxdist.rules.caf(1)(jnp.array([[1.0], [2.0], [3.0], [2.0], [1e12]])))
      [2.]

    References:
      Allouah, Guerraoui and Stephan, `Towards Trustworthy Federated Learning with
      Untrusted Participants <https://arxiv.org/abs/2505.01874>`_, 2025.
      The maximum is over workers that count; otherwise the loop might not end.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def mix(geometry, key, memory):
        del key
        counts = _best_counts(geometry, f)
        return (counts / jnp.maximum(jnp.sum(counts), 1))[None], memory

    contract = _rule.RuleContract(_rule.constant_count(f), knows_absent=True)
    return _rule.AggregationRule(f"caf({f})", mix=mix, contract=contract)


class _Search(NamedTuple):
    """The best round until now, and the counts of the next."""

    best: jax.Array  # [W]: how much each worker counted
    variance: jax.Array  # (): its largest eigenvalue, the smallest of all
    following: jax.Array  # [W]: of the next round


def _best_counts(geometry, num_byzantine):
    """Return how much each worker counts in the best round, ``[W]``."""
    num_workers = geometry.num_present(
        geometry.finite.shape[0], geometry.squared_norms.dtype
    )

    def look(search):
        counts = search.following
        found = _spectrum.measure_spectrum(geometry, counts)
        is_better = found.variance < search.variance
        return _Search(
            jnp.where(is_better, counts, search.best),
            jnp.minimum(found.variance, search.variance),
            # Where all workers have the same blame, no counts are left, and the search
            # ends. A fused maximum may lie below its values: see _spectrum.py.
            counts * jnp.maximum(jnp.max(found.blame) - found.blame, 0),
        )

    def goes_on(search):
        # Where nobody is left, there is nothing to go on with.
        left = jnp.sum(search.following)
        return (left > num_workers - 2 * num_byzantine) & (left > 0)

    # With a huge worker the rounding of a weight would move the mean more than all
    # others do.
    everyone = _far.find_crowd(geometry).near.astype(geometry.squared_norms.dtype)
    unknown = jnp.full_like(everyone[0], jnp.inf)
    first = look(_Search(everyone, unknown, everyone))
    return jax.lax.while_loop(goes_on, look, first).best
