"""Mostly fast, now and then slow."""

import numpy as np
import pytest

from jaxdist import timing
from tests.timing import draws


def test_distribution():
    law = timing.mixture(0.2, timing.exponential(1.0), timing.exponential(5.0))
    draws.assert_distribution(law, lambda t: 0.8 * np.exp(-t) + 0.2 * np.exp(-t / 5))
    assert law.mean == pytest.approx(1.8)


@pytest.mark.parametrize(("probability", "seconds"), [(0.0, 1.0), (1.0, 9.0)])
def test_extremes_are_one_of_the_laws(probability, seconds):
    law = timing.mixture(probability, timing.constant(1.0), timing.constant(9.0))
    np.testing.assert_array_equal(draws.draws_of(law, number=20), seconds)
    assert law.mean == seconds


def test_parts_draw_independently():
    law = timing.mixture(0.5, timing.exponential(1.0), timing.exponential(1.0))
    draws.assert_distribution(law, lambda t: np.exp(-t))


def test_a_mean_that_is_not_known_stays_unknown():
    law = timing.mixture(0.5, lambda key, worker, draw: 1.0, timing.exponential(1.0))
    assert law.mean is None
