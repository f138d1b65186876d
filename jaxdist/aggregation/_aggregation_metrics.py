"""Aggregation metrics: what a robust rule did with whom."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.aggregation import _merge
from jaxdist.rules import _influence, _rule


class AggregationMetrics(NamedTuple):
    """What the rule of an :func:`aggregate` with ``metrics=True`` did in one step."""

    num_nonfinite: jax.Array  # int32, (): workers that sent something not finite
    num_absent: jax.Array  # int32, (): workers of weight 0
    influence: jax.Array  # [W]: derivative of the result with respect to each worker
    trimmed: jax.Array  # [W], in [0, 1]: share of coordinates without influence
    distances: jax.Array  # [W]: to the result, over the whole gradient
    kappa: jax.Array  # (): that of this step, if the f farthest are the Byzantine

    @property
    def selected(self) -> jax.Array:
        """Which workers had any influence, bool ``[W]``."""
        return self.trimmed < 1


def aggregation_metrics(state: Any) -> AggregationMetrics:
    r"""Read what ``aggregate(..., metrics=True)`` noted anywhere in an optimizer state.

    Influence is :math:`\partial F_j / \partial x_{ij}`, averaged over the coordinates:
    the weights of rules that choose or weight workers, and of coordinate-wise rules the
    share in which a worker's value was averaged, or 1/W of that in which it voted for
    the result. A worker with any influence counts as selected, however small that is
    compared with the others'. Distances of workers that are absent
    or not finite are NaN. The constant
    of the step is

    .. math:: \kappa = \frac{\|F - \bar{x}_S\|^2}
       {\frac{1}{|S|}\sum_{i \in S} \|x_i - \bar{x}_S\|^2}

    with :math:`S` the :math:`W - f` workers nearest to the result: a guess at who is
    honest, not a bound.

    Args:
      state: A whole optimizer state, or any part of it with a state of
        :func:`aggregate`: of one with ``scope="leaf"``, the state of a leaf.

    Returns:
      The metrics of the last step, equal on all workers. Before the first step all
      are 0.

    Raises:
      ValueError: If the state holds no metrics, or several.

    Communication:
      None here. ``aggregate`` sends 3W + 3 more numbers on the route scatter.

    Example:
      >>> tx = jaxdist.aggregate("data", jaxdist.rules.krum(1), metrics=True)
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))[1]
      >>> gradients = jnp.array([[1.0], [1.1], [1.2], [9.0], [1.4]])
      >>> state = jax.vmap(step, axis_name="data")(gradients)
      >>> metrics = jaxdist.aggregation_metrics(jax.tree.map(lambda x: x[0], state))
      >>> print(metrics.selected)
      [False  True False False False]
    """
    found = _tree.nodes_of(state, AggregationMetrics)
    if len(found) != 1:
        raise ValueError(
            "`state` must hold the metrics of one aggregate(..., metrics=True), got "
            f"{len(found)}."
        )
    return found[0]


def zero_metrics(num_workers: int) -> AggregationMetrics:
    """Return the metrics before the first step."""
    zeros = jnp.zeros(num_workers, jnp.float32)
    nobody = jnp.zeros((), jnp.int32)
    kappa = jnp.zeros((), jnp.float32)
    return AggregationMetrics(nobody, nobody, zeros, zeros, zeros, kappa)


def measure_rule(
    parts: _merge.Parts,
    applied: _rule.Applied,
    rule: _rule.AggregationRule,
    extent: _merge.Extent,
) -> AggregationMetrics:
    """Look at what the rule did with the parts."""
    workers = extent.workers
    if not parts:
        return zero_metrics(workers.number)
    influence, used, squared = extent.total(
        {
            message: _influence.measure_part(
                part, applied.results[message], applied.mixture, rule, workers.weight
            )
            for message, part in parts.items()
        },
        "metrics",
    )
    if workers.weight is not None:
        squared = jnp.where(workers.weight > 0, squared, jnp.nan)
    near = _influence.nearest_rows(squared, _number_trusted(rule, workers))
    error, spread, size = extent.total(
        {
            message: _influence.measure_nearest(
                part.rows, applied.results[message], near
            )
            for message, part in parts.items()
        },
        "kappa",
    )
    return AggregationMetrics(
        applied.num_nonfinite,
        workers.num_absent,
        (influence / size).astype(jnp.float32),
        (1 - used / size).astype(jnp.float32),
        jnp.sqrt(squared).astype(jnp.float32),
        _spread_ratio(error, spread).astype(jnp.float32),
    )


def _number_trusted(rule, workers):
    """Return how many of those who are there need not be Byzantine."""
    tolerated = rule.contract.tolerated
    if workers.weight is None:
        return workers.number - tolerated(workers.number)
    there = workers.number - workers.num_absent
    return there - _rule.count_table(tolerated, workers.number)[there]


def _spread_ratio(error, spread):
    return jnp.where(spread > 0, error / jnp.where(spread > 0, spread, 1), 0)
