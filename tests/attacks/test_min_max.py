"""Min-max."""

import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def by_bisection(honest, direction):
    """Return the largest feasible shift less the margin, found as the paper does."""
    mean = honest.mean(axis=0)
    diameter = max(np.linalg.norm(x - y) for x in honest for y in honest)
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        reach = np.linalg.norm(mean + middle * direction - honest, axis=1).max()
        low, high = (middle, high) if reach**2 <= 0.999 * diameter**2 else (low, middle)
    return low


@pytest.mark.parametrize("name", ["mean", "sign", "deviation"])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_bisection(name, seed):
    honest, bad = cases.attacked(jd.attacks.min_max(name), cases.updates(seed))
    mean = honest.mean(axis=0)
    direction = cases.direction(honest, name)
    shift = by_bisection(honest, direction)
    cases.assert_all_send(bad, mean + shift * direction, rtol=1e-4, atol=1e-5)


def test_one_honest_worker_is_copied():
    honest, bad = cases.attacked(jd.attacks.min_max(), num_byzantine=8)
    np.testing.assert_allclose(bad, np.repeat(honest, 8, axis=0), rtol=1e-6)


def test_direction_is_known():
    with pytest.raises(ValueError, match="`direction` must be one of 'mean', 'sign'"):
        jd.attacks.min_max("std")
