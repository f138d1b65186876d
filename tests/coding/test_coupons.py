"""Coupons: the numbers of the collector's problem."""

import fractions
import math

import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    ("blocks", "mean"), [(1, 1), (4, 8.3333), (5, 11.4167), (8, 21.743), (10, 29.2897)]
)
def test_arrivals_on_average(blocks, mean):
    assert jd.coding.expected_arrivals(blocks) == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize(("blocks", "variance"), [(1, 0), (5, 25.174), (10, 125.69)])
def test_variance_of_arrivals(blocks, variance):
    found = jd.coding.variance_of_arrivals(blocks)
    assert found == pytest.approx(variance, rel=1e-4)


def test_arrivals_of_a_simulation():
    """20,000 rounds of five blocks: within five standard errors of both moments."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(5, size=(20_000, 200))
    first = np.stack([np.argmax(drawn == block, axis=1) for block in range(5)])
    counts = first.max(axis=0) + 1
    mean, variance = jd.coding.expected_arrivals(5), jd.coding.variance_of_arrivals(5)
    assert abs(counts.mean() - mean) < 5 * np.sqrt(variance / 20_000)
    squares = (counts - mean) ** 2
    assert abs(squares.mean() - variance) < 5 * squares.std() / np.sqrt(20_000)


def exact_probability(workers, blocks):
    """Inclusion and exclusion, in fractions."""
    return sum(
        (-1) ** k
        * math.comb(blocks, k)
        * fractions.Fraction(blocks - k, blocks) ** workers
        for k in range(blocks + 1)
    )


@pytest.mark.parametrize(
    ("workers", "blocks"),
    [(1, 1), (1, 2), (4, 4), (8, 4), (50, 5), (100, 10), (200, 60), (60, 60)],
)
def test_cover_probability(workers, blocks):
    found = jd.coding.cover_probability(workers, blocks)
    exact = float(exact_probability(workers, blocks))
    assert found == pytest.approx(exact, rel=1e-10, abs=0)


def test_placements_that_leave_a_block_out():
    assert 1 - jd.coding.cover_probability(50, 5) == pytest.approx(7.1e-5, rel=0.01)
    assert 1 - jd.coding.cover_probability(100, 10) == pytest.approx(2.7e-4, rel=0.02)
    assert jd.coding.cover_probability(3, 4) == 0


def test_cover_probability_of_loads():
    # Two workers with two of three blocks: not covered if both draw the same pair.
    assert jd.coding.cover_probability(2, 3, 2) == pytest.approx(2 / 3)
    assert jd.coding.cover_probability(2, 3, [3, 1]) == pytest.approx(1)
    assert jd.coding.cover_probability(2, 3, [1, 2]) == pytest.approx(1 / 3)
    same = jd.coding.cover_probability(30, 9, [1] * 30)
    assert same == jd.coding.cover_probability(30, 9)
    with pytest.raises(ValueError, match="`loads` must be one number or 2, got 3"):
        jd.coding.cover_probability(2, 3, [1, 1, 1])
