"""Influence: what a rule did with each of the rows, and how far the nearest lie.

Influence is a derivative: a rule need not know that it is looked at.
Only a vote, whose derivative is zero, says instead which workers voted for the result.
"""

import jax
import jax.numpy as jnp

from jaxdist.geometry import _columns
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _lowest


def measure_part(part, merged, mixture, rule, weight):
    """Return influence, coordinates with influence and squared distance of each row."""
    if weight is None and rule.mix is None and rule.contract.knows_absent:
        # Order statistics of all rows that are there: they have short derivatives, and
        # those of a network without weights would take minutes to compile.
        weight = jnp.ones(part.rows.shape[0], jnp.float32)

    def measured(rows, merged, *anchor):
        part = _rule.Contributions(rows, *(row[0] for row in anchor))
        influence = _row_influence(part, mixture, rule, weight)
        return jnp.stack(
            [
                jnp.sum(influence, axis=1),
                jnp.sum(influence != 0, axis=1, dtype=rows.dtype),
                jnp.sum((rows - merged) ** 2, axis=1),
            ]
        )

    blocks = [row[None] for row in (merged, part.anchor) if row is not None]
    return _columns.fold_columns(measured, jnp.add, part.rows, *blocks)


def _row_influence(part, mixture, rule, weight):
    """Return the derivative of the result with respect to every row."""

    def apply(rows):
        return rule.apply(part._replace(rows=rows), mixture, weight=weight)

    merged, pull = jax.vjp(apply, part.rows)
    return pull(jnp.ones_like(merged))[0]


def nearest_rows(squared, count):
    """Return which workers are the ``count`` nearest to the result, bool ``[W]``."""
    squared = jnp.where(jnp.isnan(squared), jnp.inf, squared)
    return _lowest.score_ranks(squared) < count


def measure_nearest(rows, merged, near):
    """Return the squared error from their mean, their spread, and the columns."""
    count = jnp.sum(near, dtype=rows.dtype)
    part = jnp.where(near[:, None], rows, 0)
    mean = jnp.sum(part, axis=0) / count
    spread = jnp.where(near[:, None], part - mean[None], 0)
    return jnp.stack(
        [
            jnp.sum((merged - mean) ** 2),
            jnp.sum(spread**2) / count,
            jnp.sum(jnp.ones_like(merged)),
        ]
    )
