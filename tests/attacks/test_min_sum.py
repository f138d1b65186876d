"""Min-sum."""

import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def by_bisection(honest, direction, budget):
    """Return the largest feasible shift less the margin, found as the paper does."""
    mean = honest.mean(axis=0)
    sums = np.sum((honest[:, None] - honest[None]) ** 2, axis=(1, 2))
    allowed = sums.max() if budget == "max" else sums.min()
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        total = np.sum((mean + middle * direction - honest) ** 2)
        low, high = (middle, high) if total <= 0.999 * allowed else (low, middle)
    return low


@pytest.mark.parametrize("name", ["mean", "sign", "deviation"])
@pytest.mark.parametrize("budget", ["max", "min"])
def test_agrees_with_bisection(name, budget):
    honest, bad = cases.attacked(jd.attacks.min_sum(name, budget))
    mean = honest.mean(axis=0)
    direction = cases.direction(honest, name)
    shift = by_bisection(honest, direction, budget)
    cases.assert_all_send(bad, mean + shift * direction, rtol=1e-4, atol=1e-5)


def test_stays_closer_than_min_max():
    honest, near = cases.attacked(jd.attacks.min_sum())
    _, far = cases.attacked(jd.attacks.min_max())
    mean = honest.mean(axis=0)
    assert np.linalg.norm(near[0] - mean) < np.linalg.norm(far[0] - mean)


def test_arguments_are_known():
    with pytest.raises(ValueError, match="`direction` must be one of 'mean', 'sign'"):
        jd.attacks.min_sum("std")
    with pytest.raises(ValueError, match="`budget` must be one of 'max', 'min'"):
        jd.attacks.min_sum(budget="mean")
