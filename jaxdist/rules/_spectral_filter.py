"""Spectral filter: workers that make a direction's variance too large count less."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _saddle_point, _spectrum


def spectral_filter(
    num_byzantine: int,
    deviation: float,
    tight: bool = False,
    saddle_point: bool = False,
) -> _rule.AggregationRule:
    r"""Filter until no direction has more variance than honest workers can explain.

    Every worker first counts :math:`c_i = 1`. With the largest eigenvalue
    :math:`\lambda` and eigenvector :math:`v` of the covariance around the weighted mean
    :math:`\mu_c`,

    .. math:: c_i \leftarrow c_i \Bigl(1 - \frac{\tau_i}{\max_j \tau_j}\Bigr), \qquad
       \tau_i = \langle x_i - \mu_c, v \rangle^2

    while :math:`\sum_i c_i \tau_i = \lambda \sum_i c_i > 4 W \sigma_0^2`; a worker
    that falls below 1/2 no longer counts, and the result is the plain mean of the rest.
    Eigenvalues are exact. Every round ends the influence of a worker, and none is made
    that would leave :math:`\sum_i c_i \le W - 2f`; without filtering, the result is
    the mean. Workers that are not finite do not count.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2]; proofs need
        f <= W/4.
      deviation: :math:`\sigma_0 > 0`, in the unit of the gradients: the standard
        deviation of honest workers in the direction where it is largest.
      tight: Go on while :math:`\lambda > \sigma_0^2`, drop no worker at 1/2, and
        average with the weights :math:`c_i`. It removes much more.
      saddle_point: Take the :math:`\tau_i` of the papers,

        .. math:: \max_{Y \succeq 0,\ \mathrm{tr}\, Y \le 1}\ \min_w \sum_i c_i \tau_i,
           \qquad \tau_i = (x_i - \textstyle\sum_j w_{ji} x_j)^\top Y (x_i - \ldots),

        where each worker is predicted by the best mixture of all, of weights up to
        :math:`\frac{4 - \alpha}{\alpha (2 + \alpha) W}`,
        :math:`\alpha = 1 - f/W`. Honest workers are not blamed for lying far from a
        mean that attackers moved. A round takes 400 eigendecompositions, and ends
        within two thousandths of the saddle value. It is meant for tens of workers.

    Returns:
      A rule equivariant to translation and rotation, not to scaling. Its error is
      :math:`O(\sigma_0 \sqrt{f/W})`, whatever the dimension.

    Raises:
      ValueError: If ``num_byzantine`` is negative or ``deviation`` not positive; when
        applied, if ``num_byzantine`` is too large for the number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rows = jnp.array([[1.0], [2.0], [3.0], [2.0], [100.0]])
      >>> print(jaxdist.rules.spectral_filter(1, deviation=1.0)(rows))
      [2.]

    References:
      Steinhardt, Charikar and Valiant, `Resilience: A Criterion for Learning in the
      Presence of Arbitrary Outliers <https://arxiv.org/abs/1703.04940>`_, 2018; Data
      and Diggavi, `Byzantine-Resilient High-Dimensional SGD with Local Iterations on
      Heterogeneous Data <https://arxiv.org/abs/2006.13041>`_, 2021. Without
      ``saddle_point`` every worker is predicted by the weighted mean.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    deviation = _checks.real("deviation", deviation, 0, above=True)
    _checks.flag("tight", tight)
    _checks.flag("saddle_point", saddle_point)

    def mix(geometry, key, memory):
        del key
        measure = _spectrum.measure_spectrum
        if saddle_point:
            most = _largest_removal(
                f,
                geometry.num_present(
                    geometry.finite.shape[0], geometry.squared_norms.dtype
                ),
            )
            measure = functools.partial(_saddle_point.measure_saddle_point, most=most)
        counts = _filter_rounds(geometry, measure, f, deviation**2, tight)
        counts = counts if tight else (counts > 0).astype(counts.dtype)
        return (counts / jnp.maximum(jnp.sum(counts), 1))[None], memory

    contract = _rule.RuleContract(
        _rule.constant_count(f), scale_equivariant=False, knows_absent=True
    )
    options = ", tight" * tight + ", saddle_point" * saddle_point
    name = f"spectral_filter({f}, {deviation}{options})"
    return _rule.AggregationRule(name, mix=mix, contract=contract)


def _largest_removal(num_byzantine, num_workers):
    """Return what one worker may weigh in the prediction of another."""
    honest = 1 - num_byzantine / num_workers
    return (4 - honest) / (honest * (2 + honest) * num_workers)


class _Round(NamedTuple):
    """How much each worker counts, with which variance, and the next counts."""

    counts: jax.Array  # [W]
    variance: jax.Array  # ()
    following: jax.Array  # [W]


def _filter_rounds(geometry, measure, num_byzantine, limit, tight):
    """Return how much each worker counts in the end, ``[W]``."""
    num_workers = geometry.num_present(
        geometry.finite.shape[0], geometry.squared_norms.dtype
    )

    def look(counts):
        found = measure(geometry, counts)
        following = counts * (1 - found.blame)
        if not tight:
            following = jnp.where(following < 0.5, 0, following)
        return _Round(counts, found.variance, following)

    def goes_on(this):
        total = jnp.sum(this.counts)
        is_large = (
            this.variance > limit
            if tight
            else this.variance * total > 4 * num_workers * limit
        )
        left = jnp.sum(this.following)
        return is_large & (left > num_workers - 2 * num_byzantine) & (left > 0)

    first = look(geometry.finite.astype(geometry.squared_norms.dtype))
    return jax.lax.while_loop(goes_on, lambda this: look(this.following), first).counts
