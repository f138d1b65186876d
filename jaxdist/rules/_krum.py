"""Krum: the contribution with the closest neighbours."""

import math
from typing import Literal

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _neighbours


def krum(
    num_byzantine: int,
    *,
    neighbours: Literal["paper", "byzfl"] = "paper",
    squared: bool = True,
) -> _rule.AggregationRule:
    r"""Choose the worker whose nearest neighbours are nearest.

    .. math:: F(x_1, \dots, x_W) = x_{i^*}, \qquad i^* = \arg\min_i
       \sum_{j \in N_i} \|x_i - x_j\|^2

    where :math:`N_i` are the :math:`W - f - 2` workers nearest to :math:`i`, itself
    excluded. Distances are over the whole gradient, all leaves together. Ties go to
    the lowest index. Workers that are not finite are infinitely far away and never
    chosen; when so many are not finite that no score is, the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-3)/2].
      neighbours: ``"paper"`` for :math:`W - f - 2`; ``"byzfl"`` for the
        :math:`W - f - 1` of that library, with which :math:`f < W/2` is enough.
      squared: Add up squared distances as the paper does, or else plain ones as
        Garfield and its relatives do.

    Returns:
      A rule whose result is one of its inputs; equivariant to translation, scaling
      and rotation. With k squared distances in each score,
      :math:`\kappa \le 6 (W - f) / (k + 1 - f)`.

    Raises:
      ValueError: If ``num_byzantine`` is negative or ``neighbours`` unknown; when
        applied, if ``num_byzantine`` is too large for the number of workers.

    Communication:
      On the scatter route an all-reduce of :math:`W^2` floats, for the distances.

    Example:
      >>> rule = jaxdist.rules.krum(num_byzantine=1)
      >>> print(rule(jnp.array([[1.0], [1.1], [1.4], [9.0], [1.2]])))
      [1.1]

    References:
      Blanchard et al., `Machine Learning with Adversaries: Byzantine Tolerant Gradient
      Descent <https://arxiv.org/abs/1703.02757>`_, 2017, Section 4. The constant is
      that of Allouah et al., `Fixing by Mixing <https://arxiv.org/abs/2302.01772>`_,
      2023, for any number of neighbours.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    score = _neighbours.neighbour_scores(f, neighbours, squared)

    def mix(geometry, key, memory):
        del key
        found = score(geometry, jnp.zeros_like(geometry.finite))
        chosen = jnp.arange(found.shape[0]) == jnp.argmin(found)
        trusted = jnp.isfinite(jnp.min(found))
        return (chosen & trusted)[None].astype(found.dtype), memory

    return _rule.AggregationRule(
        krum_name("krum", f, neighbours, squared),
        mix=mix,
        contract=krum_contract(f, neighbours, squared),
    )


def krum_name(
    rule: str,
    num_byzantine: int,
    neighbours: str,
    squared: bool,
    num_selected: int | None = None,
    iterated: bool = False,
) -> str:
    """Return how reports call a rule, with what is not as usual."""
    parts = [str(num_byzantine)]
    parts += [] if num_selected is None else [str(num_selected)]
    parts += ["iterated"] if iterated else []
    parts += [] if neighbours == "paper" else [f"neighbours={neighbours!r}"]
    parts += [] if squared else ["squared=False"]
    return f"{rule}({', '.join(parts)})"


def krum_contract(
    num_byzantine: int, neighbours: str, proved: bool
) -> _rule.RuleContract:
    """Return what choosing the best of these scores promises."""
    if neighbours == "paper":
        few, largest, limit = (
            1,
            lambda num_workers: (num_workers - 3) // 2,
            "f <= (W-3)/2",
        )
    else:
        few, largest, limit = 0, lambda num_workers: (num_workers - 1) // 2, "f < W/2"

    def kappa(num_workers, _):
        if not proved:
            return math.inf
        f = num_byzantine
        return 6 * (num_workers - f) / (num_workers - 2 * f - few)

    return _rule.RuleContract(
        _rule.constant_count(num_byzantine),
        largest=largest,
        limit=limit,
        kappa=kappa,
        knows_absent=True,
    )
