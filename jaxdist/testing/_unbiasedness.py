"""Unbiasedness: the mean error is zero, wherever it is looked at."""

from collections.abc import Iterator

import numpy as np

from jaxdist.testing import _draws, _inputs, _mean_test, _run

_EPSILON = float(np.finfo(np.float32).eps)


def of_kind(setting: _run.Setting, kind: str, blocks: int) -> _mean_test.Means:
    """Return the statistics of one kind of leaf."""
    drawn = _draws.error_sums(setting, kind, blocks)
    labels = _draws.class_labels(setting.size, kind)
    arrives = 1 + drawn.totals[labels.index(_draws.ALONG)] / drawn.num_draws
    # Sums over a norm lose a few units in the last place; so does every level of it.
    unit = 4 * _EPSILON * np.sqrt(setting.size)
    return _mean_test.Means(
        labels,
        drawn.totals,
        drawn.squares,
        unit * drawn.weights / drawn.num_draws,
        drawn.num_draws,
        _run.describe_leaf(kind, setting.like(), blocks),
        hint=f"On average {arrives:.4g} of the leaf arrives. ",
    )


def error_means(setting: _run.Setting) -> Iterator[_mean_test.Means]:
    """Yield what must have the mean zero."""
    for blocks in setting.blocks:
        for kind in _inputs.SMOOTH:
            yield of_kind(setting, kind, blocks)


def alarm_sentence(verdict: _mean_test.Verdict) -> str:
    """Say what is biased."""
    means = verdict.means
    signed = means.totals[verdict.index] / means.num_draws
    return (
        f"on {means.inputs} the mean error {verdict.label} is {signed:.3g} times the "
        f"norm of the leaf, beyond its bound {verdict.bound:.3g}, over "
        f"{means.num_draws} draws. {means.hint}"
    )
