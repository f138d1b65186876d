"""Variance: the expected squared error keeps its bound, in every block."""

import math
from collections.abc import Iterator

import numpy as np

from jaxdist import _tree
from jaxdist.testing import _draws, _inputs, _mean_test, _run

_ROUNDING = 1e-5  # of float32, in units of the norm


def with_rounding(bound: float, rounding: float = _ROUNDING) -> float:
    """Return the bound for an error to which rounding may add its own."""
    return (math.sqrt(max(0.0, bound)) + rounding) ** 2


def of_kind(setting: _run.Setting, kind: str, blocks: int) -> _mean_test.Means:
    """Return the squared errors of one kind of leaf, less their bound."""
    bound = setting.variance(_tree.block_size(setting.size, blocks))
    drawn = _draws.error_sums(setting, kind, blocks)
    return excess_of(
        drawn.error,
        drawn.error_squares,
        drawn.largest,
        drawn.num_draws,
        bound=bound,
        limit=with_rounding(bound),
        stochastic=setting.compressor.contract.stochastic,
        what=_run.describe_leaf(kind, setting.like(), blocks),
    )


def excess_of(
    totals: np.ndarray,
    squares: np.ndarray,
    largest: float,
    num_draws: int,
    *,
    bound: float,
    limit: float,
    stochastic: bool,
    what: str,
) -> _mean_test.Means:
    """Return squared errors less their bound, or raise what needs no statistics.

    Args:
      totals: ``[blocks]``, of the squared errors of the draws.
      squares: ``[blocks]``, of their squares.
      largest: Squared error of all.
      num_draws: How many.
      bound: On their mean.
      limit: The bound, to which rounding is added.
      stochastic: Whether the compressor is random, so that a single one may exceed it.
      what: The inputs.
    """
    _run.require_true(
        largest < math.inf,
        f"on {what} the error is not finite, or a block of zeros does not stay zero.",
    )
    _run.require_true(
        stochastic or largest <= limit,
        f"on {what} the squared error is {largest:.6g} times the square of the "
        f"block, above its bound {bound:.6g} (contraction {1 - bound:.6g}), for the "
        f"worst of {num_draws} leaves; the contract says that it is not random.",
    )
    return _mean_test.Means(
        [f"of block {j}" for j in range(len(totals))],
        totals - num_draws * limit,
        squares - 2 * limit * totals + num_draws * limit**2,
        np.zeros(len(totals)),
        num_draws,
        what,
        one_sided=True,
        offset=bound,
    )


def excess_means(setting: _run.Setting) -> Iterator[_mean_test.Means]:
    """Yield what must have a mean of at most zero."""
    for blocks in setting.blocks:
        for kind in _inputs.FINITE:
            yield of_kind(setting, kind, blocks)


def alarm_sentence(verdict: _mean_test.Verdict) -> str:
    """Say which bound is exceeded."""
    means, bound = verdict.means, verdict.means.offset
    return (
        f"on {means.inputs} the squared error {verdict.label} has the mean "
        f"{verdict.mean + bound:.6g} times the square of the block, above its bound "
        f"{bound:.6g} (contraction {1 - bound:.6g}) by more than the "
        f"{verdict.bound:.3g} that chance explains, over {means.num_draws} draws. "
    )
