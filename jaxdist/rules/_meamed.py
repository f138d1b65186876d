"""MeaMed: the mean of the values around the median."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _mean_around, _rule
from jaxdist.rules.numerics import _present


def meamed(num_byzantine: int) -> _rule.AggregationRule:
    r"""Average of each coordinate the W - f values that are nearest to the median.

    .. math:: F(x_1, \dots, x_W)_j = \frac{1}{W - f} \sum_{i \in N_j} x_{ij}

    where :math:`N_j` are the :math:`W - f` workers nearest to the median of coordinate
    :math:`j`, which is the mean of the two middle values for even W. Of two values
    that are equally near the smaller counts as nearer. Values that are not finite are
    left out first; with more than :math:`f` the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].

    Returns:
      A rule equivariant to translation and to positive scaling of each coordinate.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers.

    Communication:
      None beyond the route.

    Example:
      >>> rule = jaxdist.rules.meamed(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [3.0], [100.0]])))
      [2.]

    References:
      Xie et al., `Generalized Byzantine-tolerant SGD
      <https://arxiv.org/abs/1802.10116>`_, 2018.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def centre_of(ordered, num_bad):
        return _median_of_sorted(ordered, num_bad, f)

    def centre_of_present(values):
        lower, upper = _present.median_of_present(values)
        return (lower + upper) / 2

    name = f"meamed({f})"
    return _mean_around.mean_around(name, f, centre_of, centre_of_present)


def _median_of_sorted(ordered, num_bad, most):
    """Return the median of the finite values; void where more than ``most`` are not."""
    num_good = len(ordered) - num_bad
    first = max(len(ordered) - most - 1, 0) // 2
    lower = upper = ordered[first]
    for i in range(first + 1, len(ordered) // 2 + 1):
        lower = jnp.where((num_good - 1) // 2 == i, ordered[i], lower)
        upper = jnp.where(num_good // 2 == i, ordered[i], upper)
    return (lower + upper) / 2
