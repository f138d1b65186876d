"""Bulyan: choose by Krum, then average the values near each coordinate's median."""

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _neighbours, _present, _sorting


def bulyan(num_byzantine: int) -> _rule.AggregationRule:
    r"""Take the best by Krum W - 2f times; average the values nearest their median.

    .. math:: F(x_1, \dots, x_W)_j = \frac{1}{\theta - 2f}
       \sum_{i \in N_j} x_{ij}, \qquad \theta = W - 2f

    Each of the :math:`\theta` choices is that of :func:`krum` among the workers that
    are left. A worker then has f + 2 neighbours fewer than workers are left, and at
    least one. :math:`N_j` are the :math:`\theta - 2f` chosen values nearest to the
    median of all :math:`\theta` at coordinate :math:`j`. Workers tie, for example, when
    two are each other's only neighbour. Of workers that tie the one nearer to all that
    are left is taken, then the lowest index; of values that are equally near, the
    smaller one.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-3)/4].

    Returns:
      A rule equivariant to translation and scaling. An attacker cannot hide a large
      error of one coordinate in a distance over very many.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rows = jnp.array([[1.0], [2.0], [2.5], [3.0], [4.0], [6.0], [99.0]])
      >>> print(jaxdist.rules.bulyan(num_byzantine=1)(rows))
      [2.5]

    References:
      El Mhamdi et al., `The Hidden Vulnerability of Distributed Learning in Byzantium
      <https://arxiv.org/abs/1802.07927>`_, 2018, Section 4. Scores are computed again
      after every choice, as written there and unlike in its published code.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    score = _neighbours.neighbour_scores(f)

    def mix(geometry, key, memory):
        del key
        num_workers = geometry.finite.shape[0]
        most = num_workers - 2 * f
        number = geometry.num_present(most)
        order = _neighbours.take_best(score, geometry, most, number)
        dtype = geometry.squared_norms.dtype
        weights = jax.nn.one_hot(order, num_workers, dtype=dtype)
        return jnp.where(geometry.finite[None], weights, 0), memory

    contract = _rule.RuleContract(
        _rule.constant_count(f),
        largest=lambda num_workers: (num_workers - 3) // 4,
        limit="f <= (W-3)/4",
        knows_absent=True,
    )

    def reduce(rows):
        return _mean_around_the_median(rows, 2 * f)

    def reduce_weighted(rows, weight):
        values = _present.sort_present(rows, weight, few=0)
        return _mean_around_the_median_of_present(values, 2 * f)

    return _rule.AggregationRule(
        f"bulyan({f})",
        _present.any_number(reduce, reduce_weighted),
        mix,
        contract,
        needs_aligned=True,
        reduce_weighted=reduce_weighted,
    )


def _mean_around_the_median(rows: jax.Array, num_dropped: int) -> jax.Array:
    """Average each coordinate of ``[m, s]`` without those farthest from the median."""
    ordered = _sorting.sort_rows(list(rows))
    kept = len(ordered) - num_dropped
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    # The nearest are neighbours in the order: only the first of them must be found.
    start = jnp.zeros_like(lower, dtype=jnp.int32)
    reach = jnp.full_like(lower, jnp.inf)
    for first in range(num_dropped + 1):
        low, high = ordered[first], ordered[first + kept - 1]
        # Twice the distance from the median; the median itself would be rounded.
        below, above = (lower - low) + (upper - low), (high - lower) + (high - upper)
        farthest = jnp.maximum(below, above)
        start = jnp.where(farthest < reach, first, start)
        reach = jnp.minimum(farthest, reach)
    total = jnp.zeros_like(lower)
    for i, row in enumerate(ordered):
        total += jnp.where((i >= start) & (i < start + kept), row, 0)
    return total / kept


def _mean_around_the_median_of_present(
    values: _present.Present, num_dropped: int
) -> jax.Array:
    """Do the same with those of the rows that are there."""
    number = values.num_rows
    kept = number - num_dropped
    lower, upper = values.row_at((number - 1) // 2), values.row_at(number // 2)
    low = values.ordered[: num_dropped + 1]
    high = values.rows_from(kept - 1, num_dropped + 1)
    below = (lower[None] - low) + (upper[None] - low)
    above = (high - lower[None]) + (high - upper[None])
    farthest = jnp.maximum(below, above)
    farthest = jnp.where(jnp.isnan(farthest), jnp.inf, farthest)
    start = jnp.argmin(farthest, axis=0).astype(jnp.int32)
    total = values.total_between(start, start + kept)
    return total / jnp.maximum(kept, 1).astype(total.dtype)
