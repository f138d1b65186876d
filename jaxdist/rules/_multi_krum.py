"""Multi-Krum: the mean of the contributions with the closest neighbours."""

from typing import Literal

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _krum, _rule
from jaxdist.rules.numerics import _lowest, _neighbours


def multi_krum(
    num_byzantine: int,
    num_selected: int | None = None,
    iterated: bool = False,
    *,
    neighbours: Literal["paper", "byzfl"] = "paper",
    squared: bool = True,
) -> _rule.AggregationRule:
    r"""Average the workers with the best scores of :func:`krum`.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{m} \sum_{i \in M} x_i, \qquad
       M = \text{the } m \text{ smallest of } \sum_{j \in N_i} \|x_i - x_j\|^2

    Ties go to the lowest index; with ``iterated``, first to the worker that is nearer
    to all that are left. Workers that are not finite are never chosen.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-3)/2].
      num_selected: :math:`m`, in [1, W - f]; W - f when None. Iterated in
        [1, W - 2f - 2], and that when None: 2f + 3 are left for the last choice.
      iterated: Choose one at a time, by the distances among the workers left.
      neighbours: As in :func:`krum`.
      squared: As in :func:`krum`.

    Returns:
      A rule equivariant to translation, scaling and rotation. In one shot it has the
      constant of :func:`krum`, because the average of the m best scores is at most
      that of the honest ones.

    Raises:
      ValueError: If an argument is out of range; when applied, also if it is for the
        number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.multi_krum(num_byzantine=1, num_selected=2)
      >>> print(rule(jnp.array([[1.0], [1.25], [1.375], [9.0], [2.0]])))
      [1.3125]

    References:
      Blanchard et al., `Machine Learning with Adversaries: Byzantine Tolerant Gradient
      Descent <https://arxiv.org/abs/1703.02757>`_, 2017: one shot in the experiments,
      iterated in Section 6.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    _checks.flag("iterated", iterated)
    if num_selected is not None:
        num_selected = _checks.integer("num_selected", num_selected, 1)
    score = _neighbours.neighbour_scores(f, neighbours, squared)

    def most(num_workers):
        return num_workers - 2 * f - 2 if iterated else num_workers - f

    def number(num_workers):
        return most(num_workers) if num_selected is None else num_selected

    def mix(geometry, key, memory):
        del key
        num_workers = geometry.finite.shape[0]
        m = number(geometry.num_present(num_workers))
        if iterated:
            most = number(num_workers)
            order = _neighbours.take_best(score, geometry, most, m)
            return _of_turns(order, m, geometry), memory
        found = score(geometry, jnp.zeros_like(geometry.finite))
        return _lowest.mean_weights(geometry.or_inf(found), m), memory

    def requires(num_workers):
        _checks.integer("num_selected", number(num_workers), 1, most(num_workers))

    contract = _krum.krum_contract(f, neighbours, squared and not iterated)
    return _rule.AggregationRule(
        _krum.krum_name("multi_krum", f, neighbours, squared, num_selected, iterated),
        mix=mix,
        contract=contract,
        requires=requires,
    )


def _of_turns(order, number, geometry):
    """Return weights ``[1, W]`` of the mean of the workers that were taken in turn."""
    dtype = geometry.squared_norms.dtype
    workers = jnp.arange(geometry.finite.shape[0], dtype=jnp.int32)
    taken = jnp.any(order[:, None] == workers[None], axis=0) & geometry.finite
    return taken[None].astype(dtype) / jnp.asarray(number, dtype)
