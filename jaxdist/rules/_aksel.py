"""Aksel: the mean of the workers nearest to the median of each coordinate."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _radii
from jaxdist.rules import _median, _rule
from jaxdist.rules.numerics import _lowest


def aksel(num_byzantine: int, num_selected: int | None = None) -> _rule.AggregationRule:
    r"""Average the workers that are nearest to the coordinate-wise median.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{m} \sum_{i \in N} x_i, \qquad
       N = \text{the } m \text{ nearest to } \mathrm{median}(x_1, \dots, x_W)

    Distances are over the whole gradient. Ties go to the lowest index. Workers that are
    not finite are left out. Behind a pre-aggregation the median is still that of the
    workers before they were mixed.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].
      num_selected: :math:`m`, in [1, W - f]; half the workers, rounded up, when None.

    Returns:
      A rule equivariant to translation and scaling.

    Raises:
      ValueError: If an argument is out of range; when applied, also if it is for the
        number of workers.

    Communication:
      On the scatter route an all-reduce of 2W + 1 floats, for norms and distances from
      the median.

    Example:
      >>> print(
      ...     jaxdist.rules.aksel(2)(jnp.array([[1.0], [2.0], [3.0], [5.0], [900.0]]))
      ... )
      [2.]

    References:
      Boussetta et al., `AKSEL: Fast Byzantine SGD
      <https://doi.org/10.4230/LIPIcs.OPODIS.2020.8>`_, 2021.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    if num_selected is not None:
        num_selected = _checks.integer("num_selected", num_selected, 1)

    def number(num_workers):
        return (num_workers + 1) // 2 if num_selected is None else num_selected

    def mix(geometry, key, memory):
        del key
        distances = geometry.squared_distances
        m = number(geometry.num_present(distances.shape[0]))
        weights = _lowest.mean_weights(geometry.or_inf(distances), m)
        return jnp.pad(weights, ((0, 0), (0, 1))), memory

    def requires(num_workers):
        _checks.integer("num_selected", number(num_workers), 1, num_workers - f)

    name = f"aksel({f})" if num_selected is None else f"aksel({f}, {num_selected})"
    return _rule.AggregationRule(
        name,
        mix=mix,
        sees=_radii.Radii,
        contract=_rule.RuleContract(_rule.constant_count(f), knows_absent=True),
        needs_aligned=True,
        anchor=_median.median(),
        requires=requires,
    )
