"""Sign majority: every coordinate goes where most workers point."""

import functools
import operator

import jax
import jax.numpy as jnp

from jaxdist.rules import _rule


def sign_majority() -> _rule.AggregationRule:
    r"""Let the workers vote on the sign of each coordinate.

    .. math:: F(x_1, \dots, x_W)_j = \mathrm{sign} \sum_i \mathrm{sign}(x_{ij})

    Zeros, and values that are not finite, do not vote. Ties give 0. With half the
    workers or more not finite the result is 0.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers. They only decide where the
      others disagree. Its result is -1, 0 or 1 whatever the scale of the gradients,
      so the learning rate alone is the size of a step.

    Communication:
      None beyond the route. With :func:`jaxdist.compression.scaled_sign` a coordinate
      takes one bit on its way to the vote. Its scales do not change the vote.

    Example:
      >>> rows = jnp.array([[0.1, 2.0], [0.2, -1.0], [-9.0, 0.0]])
      >>> print(jaxdist.rules.sign_majority()(rows))
      [1. 0.]

    References:
      Bernstein et al., `signSGD with Majority Vote is Communication Efficient And
      Fault Tolerant <https://arxiv.org/abs/1810.05291>`_, 2018, Algorithm 1.
    """
    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2,
        translation_equivariant=False,
        scale_equivariant=False,
        knows_absent=True,
    )
    return _rule.AggregationRule(
        "sign_majority()",
        _vote_of_rows,
        contract=contract,
        needs_aligned=True,
        reduce_weighted=_vote_of_present,
    )


def _vote_of_present(rows, weight):
    return _vote_of_rows(jnp.where(weight[:, None] > 0, rows, 0))


@jax.custom_jvp
def _vote_of_rows(rows):
    return jnp.sign(functools.reduce(operator.add, map(_cast_ballot, rows)))


@_vote_of_rows.defjvp
def _vote_agreement(primals, tangents):
    """Return the share of the workers that voted for the result.

    Metrics ask for it instead of the derivative, which is 0 for a sign.
    """
    (rows,), (moved,) = primals, tangents
    result = _vote_of_rows(rows)
    voted = [(_cast_ballot(row) == result) & (result != 0) for row in rows]
    agreed = (jnp.where(mine, row, 0) for mine, row in zip(voted, moved, strict=True))
    return result, functools.reduce(operator.add, agreed) / len(voted)


def _cast_ballot(row):
    return jnp.where(jnp.isfinite(row), jnp.sign(row), 0)
