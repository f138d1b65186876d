r"""A test of means that needs neither a range nor a normal approximation.

Let :math:`X_1, \dots, X_n` be independent copies of a variable with mean zero, variance
:math:`\sigma^2` and kurtosis :math:`\mathbb{E}X^4/\sigma^4 \le \kappa`, and let
:math:`S = \sum X_t`, :math:`V = \sum X_t^2`. If :math:`n \ge 8\kappa L`, then

.. math:: \Pr\Big(|S| \ge \tfrac{11}{6\sqrt 2} \sqrt{2LV}\Big) \le 14\,e^{-L}.

Proof. From :math:`e^{x - x^2/6} \le 1 + x + x^2/3` follows
:math:`\mathbb{E}\exp(\lambda S - \lambda^2 V/6 - \lambda^2 n\sigma^2/3) \le 1`
(Delyon, 2009), so that :math:`S < \lambda V/6 + \lambda n\sigma^2/3 + L/\lambda`
up to probability :math:`e^{-L}`. With :math:`\lambda^2 = 2L/(50^j n \sigma^2)` the
right side is at most the bound wherever :math:`V/(n\sigma^2)` lies in
:math:`[50^j, 50^{j+1}]`, for :math:`j = 0` even from one half on. Six values of j on
two sides fail with probability :math:`12 e^{-L}`. Squares are positive, so :math:`V`
falls below half its mean with probability at most :math:`e^{-n/(8\kappa)}` (Maurer,
2003), and by Chebyshev's inequality it exceeds :math:`50^6` times its mean with less
than :math:`e^{-49}`.

A mean below zero passes the upper side of the test with the same probability.

Why no normal approximation: a correct compressor must not fail a user's build, and
errors of sparsifiers are skewed and heavy-tailed. Their range is unknown, and a range
taken from the draws proves nothing. This bound needs neither; it needs only that
nothing decisive is rarer than one draw in n/200, and costs a factor of 1.4 against the
normal quantile. The leaves differ from draw to draw (`_draws.py`): a fixed leaf may
stand just above a level of a quantizer, and the error that makes up for all others
would never be drawn.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LOSS = 11 / (6 * math.sqrt(2))
_EVENTS = 14


class Means(NamedTuple):
    """Statistics whose means must be zero, or must not be above zero."""

    labels: Sequence[str]  # where each was taken, to be read after "the mean error"
    totals: np.ndarray  # [m], the sums S
    squares: np.ndarray  # [m], the sums of squares V
    rounding: np.ndarray  # [m], what rounding may add to each mean
    num_draws: int
    inputs: str  # on what they were taken
    one_sided: bool = False
    offset: float = 0.0  # what was subtracted from every draw
    hint: str = ""  # what else is known about these inputs


class Verdict(NamedTuple):
    """The statistic that came closest to its bound."""

    means: Means
    index: int
    mean: float
    bound: float

    @property
    def ratio(self) -> float:
        """The mean over its bound: an alarm when it is above 1."""
        return self.mean / self.bound

    @property
    def label(self) -> str:
        """Where the statistic was taken."""
        return self.means.labels[self.index]


def alarm_level(false_alarm: float, num_statistics: int) -> float:
    """Return L, with which all the statistics together alarm falsely that rarely."""
    return math.log(_EVENTS * max(1, num_statistics) / false_alarm)


def largest_kurtosis(num_draws: int, log: float) -> float:
    """Return the kurtosis up to which the probability of a false alarm is proven."""
    return num_draws / (8 * log)


def worst_verdict(means: Means, log: float) -> Verdict:
    """Return the statistic that comes closest to its bound, or exceeds it most."""
    observed = means.totals / means.num_draws
    if not means.one_sided:
        observed = np.abs(observed)
    # The square root may not be one of a sum that cancelled to less than zero.
    squares = np.maximum(means.squares, 0)
    bounds = _LOSS * np.sqrt(2 * log * squares) / means.num_draws + means.rounding
    tiny = np.finfo(np.float64).tiny
    ratios = np.nan_to_num(observed / np.maximum(bounds, tiny), nan=np.inf)
    index = int(np.argmax(ratios))
    return Verdict(means, index, float(observed[index]), float(bounds[index]))
