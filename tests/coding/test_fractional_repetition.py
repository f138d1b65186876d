"""Fractional repetition: all sets of survivors, and arrivals on average."""

import itertools
import math

import jax
import numpy as np
import pytest

import jaxdist as jd


def test_all_sets_of_survivors():
    code = jd.coding.fractional_repetition(6, 2)
    sets = list(itertools.combinations(range(6), 4))
    assert len(sets) == 15
    arrived = np.zeros((15, 6), bool)
    np.put_along_axis(arrived, np.array(sets), True, axis=1)
    decoded = jax.jit(jax.vmap(code.decode))(arrived)
    assert decoded.covered.all()
    np.testing.assert_array_equal(decoded.weights.sum(axis=1), 1)


def test_groups():
    code = jd.coding.fractional_repetition(6, 2)
    np.testing.assert_array_equal(np.argmax(code.placement, axis=1), [0, 1] * 3)
    np.testing.assert_array_equal(code.block_sizes, [3, 3])
    more = jd.coding.fractional_repetition(6, 2, 11)
    np.testing.assert_array_equal(more.block_sizes, [5, 6])
    assert more.name == "fractional_repetition(6, 2, 11)"


@pytest.mark.parametrize(("workers", "stragglers"), [(1, 0), (5, 0), (5, 4)])
def test_extremes(workers, stragglers):
    code = jd.coding.fractional_repetition(workers, stragglers)
    assert code.num_blocks == workers // (stragglers + 1)
    assert code.threshold == workers - stragglers


def test_numbers_that_do_not_divide():
    with pytest.raises(ValueError, match=r"divide `num_workers`, got 3 and 6\. cyclic"):
        jd.coding.fractional_repetition(6, 3)
    with pytest.raises(
        ValueError, match=r"`num_stragglers` must be in \[0, 5\], got 6"
    ):
        jd.coding.fractional_repetition(6, 6)
    with pytest.raises(ValueError, match="`num_units` must be an integer >= 2, got 1"):
        jd.coding.fractional_repetition(6, 2, 1)


@pytest.mark.parametrize(
    ("workers", "blocks", "mean"),
    [(50, 5, 10.128), (100, 10, 25.086), (8, 4, 5.3429), (16, 4, 6.4974)],
)
def test_arrivals_on_average(workers, blocks, mean):
    """The docstring's formula, and 4000 rounds: within five standard errors."""
    size = workers // blocks
    formula = (workers + 1) * sum(
        (-1) ** (j + 1) * math.comb(blocks, j) / (j * size + 1)
        for j in range(1, blocks + 1)
    )
    assert formula == pytest.approx(mean, abs=6e-4)
    code = jd.coding.fractional_repetition(workers, size - 1)
    rng = np.random.default_rng(0)
    times = rng.random((4000, workers), np.float32)
    moments = np.asarray(jax.jit(jax.vmap(code.finish_time))(times))
    counts = np.sum(times <= moments[:, None], axis=1)
    assert abs(counts.mean() - mean) < 5 * counts.std() / np.sqrt(4000)
    if workers > 20:  # of fewer workers some coupons do not cover at all
        assert mean < jd.coding.expected_arrivals(blocks)
