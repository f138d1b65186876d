"""Variance: the expected squared error keeps its bound, in every block."""

import math
from collections.abc import Iterator

import numpy as np

from jaxdist import _tree
from jaxdist.testing import _draws, _inputs, _mean_test, _run

_ROUNDING = 1e-5  # of float32, in units of the norm


def _with_rounding(bound: float) -> float:
    """Return the bound for an error to which rounding may add its own."""
    return (math.sqrt(max(0.0, bound)) + _ROUNDING) ** 2


def _of_kind(setting: _run.Setting, kind: str, blocks: int) -> _mean_test.Means:
    """Return the squared errors of one kind of leaf, less their bound."""
    size = _tree.block_size(setting.size, blocks)
    bound, limit = setting.variance(size), _with_rounding(setting.variance(size))
    what = _run.describe_leaf(kind, setting.like(), blocks)
    drawn = _draws.error_sums(setting, kind, blocks)
    _run.require_true(
        drawn.largest < math.inf,
        f"on {what} the error is not finite, or a block of zeros does not stay zero.",
    )
    _run.require_true(
        setting.compressor.contract.stochastic or drawn.largest <= limit,
        f"on {what} the squared error is {drawn.largest:.6g} times the square of the "
        f"block, above its bound {bound:.6g} (contraction {1 - bound:.6g}), for the "
        f"worst of {drawn.num_draws} leaves; the contract says that it is not random.",
    )
    squares = drawn.error_squares - 2 * limit * drawn.error + drawn.num_draws * limit**2
    return _mean_test.Means(
        [f"of block {j}" for j in range(blocks)],
        drawn.error - drawn.num_draws * limit,
        squares,
        np.zeros(blocks),
        drawn.num_draws,
        what,
        one_sided=True,
        offset=bound,
    )


def excess_means(setting: _run.Setting) -> Iterator[_mean_test.Means]:
    """Yield what must have a mean of at most zero."""
    for blocks in setting.blocks:
        for kind in _inputs.FINITE:
            yield _of_kind(setting, kind, blocks)


def alarm_sentence(verdict: _mean_test.Verdict) -> str:
    """Say which bound is exceeded."""
    means, bound = verdict.means, verdict.means.offset
    return (
        f"on {means.inputs} the squared error {verdict.label} has the mean "
        f"{verdict.mean + bound:.6g} times the square of the block, above its bound "
        f"{bound:.6g} (contraction {1 - bound:.6g}) by more than the "
        f"{verdict.bound:.3g} that chance explains, over {means.num_draws} draws. "
    )
