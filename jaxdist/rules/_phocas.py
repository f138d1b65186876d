"""Phocas: the mean of the values around the trimmed mean."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _mean_around, _rule
from jaxdist.rules.numerics import _present, _sorting


def phocas(num_byzantine: int) -> _rule.AggregationRule:
    r"""Average of each coordinate the W - f values nearest to the trimmed mean.

    .. math:: F(x_1, \dots, x_W)_j = \frac{1}{W - f} \sum_{i \in N_j} x_{ij}

    where :math:`N_j` are the :math:`W - f` workers nearest to
    :func:`trimmed_mean` at coordinate :math:`j`. Of two values that are equally near
    the smaller counts as nearer. Values that are not finite are left out first; with
    more than :math:`f` the result is 0.

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
      >>> rule = jaxdist.rules.phocas(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [2.0], [6.0], [100.0]])))
      [3.]

    References:
      Xie et al., `Phocas: dimensional Byzantine-resilient stochastic gradient descent
      <https://arxiv.org/abs/1805.09682>`_, 2018.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def centre_of(ordered, num_bad):
        total = _sorting.kept_total(_sorting.cut_sorted(ordered, num_bad, f))
        # XLA would keep the undivided sum, and with it all rows that it was made of.
        share = jnp.zeros_like(total)
        for bad in range(f + 1):
            number = len(ordered) - 2 * f + bad
            share = jnp.where(num_bad == bad, 1 / number, share)
        return total * share

    def centre_of_present(values):
        return _present.trimmed_mean_of_present(values, f)

    name = f"phocas({f})"
    return _mean_around.mean_around(name, f, centre_of, centre_of_present)
