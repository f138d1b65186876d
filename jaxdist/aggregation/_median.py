"""Median: the middle value of each coordinate."""

import jax.numpy as jnp

from jaxdist import _types
from jaxdist.aggregation import _sorting


def median() -> _types.AggregationRule:
    r"""Take the coordinate-wise median; the mean of the two middles for even W.

    .. math:: F(x_1, \dots, x_W)_j = \mathrm{median}(x_{1j}, \dots, x_{Wj})

    Values that are not finite are left out, coordinate by coordinate. Where half the
    workers or more are not finite the result is 0.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers. It is equivariant to
      translation and to positive and negative scaling of each coordinate.

    Communication:
      None beyond the route.

    Example:
      >>> print(jaxdist.median()(jnp.array([[1.0], [2.0], [1000.0]])))
      [2.]

    References:
      Yin et al., `Byzantine-Robust Distributed Learning: Towards Optimal Statistical
      Rates <https://arxiv.org/abs/1803.01498>`_, 2018, Option I.
    """
    return _types.AggregationRule("median()", _median, needs_aligned=True)


def _median(rows):
    num_workers = rows.shape[0]
    ordered, num_bad = _sorting.sort_finite(rows)
    num_good = num_workers - num_bad
    lower, upper = (num_good - 1) // 2, num_good // 2
    middles = jnp.zeros_like(rows[0])
    for i in range(num_workers // 2 + 1):
        times = (lower == i).astype(rows.dtype) + (upper == i).astype(rows.dtype)
        middles += jnp.where(times > 0, times * ordered[i], 0)
    return jnp.where(2 * num_bad < num_workers, middles / 2, 0)
