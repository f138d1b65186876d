"""Subsets: in the order of itertools, and how many are too many."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules.numerics import _subsets


@pytest.mark.parametrize(("num_workers", "num_byzantine"), [(5, 0), (7, 1), (9, 4)])
def test_lexicographic_order(num_workers, num_byzantine):
    kept = itertools.combinations(range(num_workers), num_workers - num_byzantine)
    expected = [[i in subset for i in range(num_workers)] for subset in kept]
    numbers = jnp.arange(math.comb(num_workers, num_byzantine))
    found = _subsets.subset_members(numbers, num_byzantine, num_workers)
    np.testing.assert_array_equal(found, expected)


def test_every_subset_has_its_score(monkeypatch):
    monkeypatch.setattr(_subsets, "_TOGETHER", 4)
    rows = jnp.arange(6.0)[:, None]
    geometry = jd.rules.Geometry.of(rows.at[4].set(jnp.inf))

    def highest(kept):
        return jnp.max(jnp.where(kept, rows.T, 0), axis=1)

    found = _subsets.subset_scores(highest, geometry, 2)
    subsets = itertools.combinations(range(6), 4)
    expected = [np.inf if 4 in subset else max(subset) for subset in subsets]
    np.testing.assert_array_equal(found, expected)
    weights = _subsets.weights_of(jnp.argmin(found), geometry, 2)
    np.testing.assert_array_equal(weights, [[0.25, 0.25, 0.25, 0.25, 0, 0]])
