"""MoNNA: the mean of the workers nearest to one that is trusted."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _radii
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _lowest


def monna(num_byzantine: int, trusted: int = 0) -> _rule.AggregationRule:
    r"""Average the W - f workers nearest to a trusted one, itself included.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{W - f} \sum_{i \in N} x_i, \qquad
       N = \text{the } W - f \text{ nearest to } x_t

    In the paper each worker trusts itself. Ties go to the lowest index. When the
    trusted worker is not finite, the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].
      trusted: Index :math:`t` of a worker in [0, W-1]. It must be honest: nothing
        else is checked.

    Returns:
      A rule equivariant to translation, scaling and rotation. It depends on the order
      of workers, and promises nothing when ``trusted`` is Byzantine.

    Raises:
      ValueError: If an argument is negative; when applied, if it is too large for the
        number of workers.

    Communication:
      On the scatter route an all-reduce of 2W + 1 floats, for norms and distances from
      the trusted worker.

    Example:
      >>> print(
      ...     jaxdist.rules.monna(2)(jnp.array([[1.0], [2.0], [3.0], [5.0], [-100.0]]))
      ... )
      [2.]

    References:
      Farhadkhani et al., `Robust Collaborative Learning with Linear Gradient Overhead
      <https://arxiv.org/abs/2209.10931>`_, 2023, Algorithm 1.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    trusted = _checks.integer("trusted", trusted, 0)

    def mix(geometry, key, memory):
        del key
        distances = geometry.or_inf(geometry.squared_distances)
        # The trusted worker first, also among equals.
        distances = distances.at[trusted].add(-1)
        weights = _lowest.mean_weights(
            distances, geometry.num_present(distances.size) - f
        )
        weights = jnp.where(geometry.finite[trusted], weights, 0)
        return jnp.pad(weights, ((0, 0), (0, 1))), memory

    def requires(num_workers):
        _checks.integer("trusted", trusted, 0, num_workers - 1)

    name = f"monna({f}, {trusted})"
    contract = _rule.RuleContract(
        _rule.constant_count(f), symmetric=False, knows_absent=True
    )
    return _rule.AggregationRule(
        name,
        mix=mix,
        sees=_radii.Radii,
        contract=contract,
        anchor=trusted,
        requires=requires,
        needs_everybody=True,
    )
