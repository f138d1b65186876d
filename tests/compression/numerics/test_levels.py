"""Levels: the bounds of both norms are the least that hold."""

import math

import numpy as np
import pytest

from jaxdist.compression.numerics import _levels
from tests import statistics

VECTOR = np.random.default_rng(0).standard_normal(64)


@pytest.mark.parametrize(("levels", "omega"), [(1, 5.5289), (4, 0.6751), (16, 0.0420)])
def test_reference_numbers(levels, omega):
    """Also for numbers of levels that no whole number of bits has."""
    assert statistics.exact_variance(VECTOR, levels) == pytest.approx(omega, abs=1e-4)
    assert omega <= _levels.l2_variance(64, levels)


@pytest.mark.parametrize("levels", [1, 3, 127])
@pytest.mark.parametrize("size", [2, 17, 512, 100_000])
def test_bounds_are_the_least_that_hold(size, levels):
    """The leaf of the proof attains them."""
    if size >= 4 * levels**2:
        worst = statistics.exact_variance(np.ones(size), levels)
        assert worst == pytest.approx(_levels.l2_variance(size, levels))
    bound = _levels.max_variance(size, levels)
    others = 1 / (2 * (1 + bound))
    worst = statistics.exact_variance(
        np.r_[levels, np.full(size - 1, others)], levels, "max"
    )
    assert worst == pytest.approx(bound)
    assert _levels.l2_variance(size, levels) <= min(
        size / levels**2, math.sqrt(size) / levels
    )
