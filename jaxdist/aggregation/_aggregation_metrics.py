"""Aggregation metrics: what a robust rule did with whom."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _rule, _types
from jaxdist.aggregation import _judgement


class AggregationMetrics(NamedTuple):
    """What the rule of an :func:`aggregate` with ``metrics=True`` did in one step."""

    num_nonfinite: jax.Array  # int32, (): workers that sent something not finite
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
    share in which a worker's value was averaged. The constant of the step is

    .. math:: \kappa = \frac{\|F - \bar{x}_S\|^2}
       {\frac{1}{|S|}\sum_{i \in S} \|x_i - \bar{x}_S\|^2}

    with :math:`S` the :math:`W - f` workers nearest to the result: a guess at who is
    honest, not a bound.

    Args:
      state: A whole optimizer state, or any part of it with a state of
        :func:`aggregate`.

    Returns:
      The metrics of the last step, equal on all workers. Before the first step all
      are 0.

    Raises:
      ValueError: If the state holds no metrics, or several.

    Communication:
      None here. ``aggregate`` sends 3W + 2 more numbers on the route scatter.

    Example:
      >>> tx = jaxdist.aggregate("data", jaxdist.krum(1), metrics=True)
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))[1]
      >>> gradients = jnp.array([[1.0], [1.1], [1.2], [9.0], [1.3]])
      >>> state = jax.vmap(step, axis_name="data")(gradients)
      >>> metrics = jaxdist.aggregation_metrics(jax.tree.map(lambda x: x[0], state))
      >>> print(metrics.selected)
      [False  True False False False]
    """
    nodes = jax.tree.leaves(state, is_leaf=_is_metrics)
    found = [node for node in nodes if _is_metrics(node)]
    if len(found) != 1:
        raise ValueError(
            "`state` must hold the metrics of one aggregate(..., metrics=True), got "
            f"{len(found)}."
        )
    return found[0]


def _is_metrics(node: Any) -> bool:
    return isinstance(node, AggregationMetrics)


def nothing_yet(num_workers: int) -> AggregationMetrics:
    """Return the metrics before the first step."""
    zeros = jnp.zeros(num_workers, jnp.float32)
    nobody = jnp.zeros((), jnp.int32)
    return AggregationMetrics(nobody, zeros, zeros, zeros, jnp.zeros((), jnp.float32))


def shapes(num_workers: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what :func:`measure` sums over all parts."""
    return {"metrics": (3, num_workers), "kappa": (2,)}


def measure(
    rows: _judgement.Rows,
    verdict: _judgement.Verdict,
    rule: _rule.AggregationRule,
    axis_name: _types.AxisName,
) -> AggregationMetrics:
    """Look at what the rule did with the rows."""
    num_workers = _collectives.size(axis_name)
    if not rows:
        return nothing_yet(num_workers)
    influences = {
        route: _influence(part, verdict.weights, rule) for route, part in rows.items()
    }
    size = sum(
        part.shape[1] * (num_workers if route == "scatter" else 1)
        for route, part in rows.items()
    )
    influence, used, squared = _judgement.sum_of_parts(
        {
            route: jnp.stack(
                [
                    jnp.sum(part, axis=1),
                    jnp.sum(part != 0, axis=1, dtype=part.dtype),
                    jnp.sum((rows[route] - verdict.merged[route][None]) ** 2, axis=1),
                ]
            )[:, :num_workers]
            for route, part in influences.items()
        },
        axis_name,
    )
    return AggregationMetrics(
        verdict.num_nonfinite,
        (influence / size).astype(jnp.float32),
        (1 - used / size).astype(jnp.float32),
        jnp.sqrt(squared).astype(jnp.float32),
        _kappa(rows, verdict, squared, rule, axis_name),
    )


def _influence(rows, weights, rule):
    """Return the derivative of the result with respect to every row."""
    merged, pull = jax.vjp(lambda rows: rule.combine(rows, weights), rows)
    return pull(jnp.ones_like(merged))[0]


def _kappa(rows, verdict, squared, rule, axis_name):
    """Return the error beside the spread of those that are nearest to the result."""
    num_workers = _collectives.size(axis_name)
    num_honest = num_workers - rule.contract.tolerated(num_workers)
    squared = jnp.where(jnp.isnan(squared), jnp.inf, squared)
    rank = jnp.argsort(jnp.argsort(squared, stable=True))
    near = rank < num_honest

    def of_part(route):
        part = jnp.where(near[:, None], rows[route][:num_workers], 0)
        mean = jnp.sum(part, axis=0) / num_honest
        spread = jnp.where(near[:, None], part - mean[None], 0)
        error = verdict.merged[route] - mean
        return jnp.stack([jnp.sum(error**2), jnp.sum(spread**2) / num_honest])

    error, spread = _judgement.sum_of_parts({r: of_part(r) for r in rows}, axis_name)
    ratio = jnp.where(spread > 0, error / jnp.where(spread > 0, spread, 1), 0)
    return ratio.astype(jnp.float32)
