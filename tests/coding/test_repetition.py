"""Repetition: even copies, and the same code as that of groups."""

import math

import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize(("workers", "batches"), [(8, 4), (8, 8), (8, 1), (6, 3)])
def test_it_is_a_fractional_repetition_where_one_exists(workers, batches):
    code = jd.coding.repetition(workers, batches)
    other = jd.coding.fractional_repetition(workers, workers // batches - 1, batches)
    np.testing.assert_array_equal(code.placement, other.placement)
    np.testing.assert_array_equal(code.block_sizes, other.block_sizes)
    assert code.threshold == other.threshold


@pytest.mark.parametrize(("workers", "batches"), [(7, 3), (11, 4)])
def test_copies_differ_by_one_at_most(workers, batches):
    copies = jd.coding.repetition(workers, batches).placement.sum(axis=0)
    assert copies.sum() == workers and np.ptp(copies) == 1


@pytest.mark.parametrize(
    ("workers", "batches", "shares"),
    [(8, 4, [1, 0.857, 0.571, 0.229]), (8, 2, [1, 1, 1, 0.971])],
)
def test_share_of_failures_that_are_survived(workers, batches, shares):
    code = jd.coding.repetition(workers, batches)
    arrived = np.array(
        [[int(b) for b in f"{i:0{workers}b}"] for i in range(2**workers)], bool
    )
    covered = (arrived[:, :, None] & code.placement).any(axis=1).all(axis=1)
    for missing, share in enumerate(shares, 1):
        chosen = (~arrived).sum(axis=1) == missing
        assert chosen.sum() == math.comb(workers, missing)
        assert covered[chosen].mean() == pytest.approx(share, abs=6e-4)
