"""SMEA: exact, the same every time, and its bounds are bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules import _smea
from jaxdist.rules.numerics import _subsets
from tests.contract import oracles


@pytest.mark.parametrize("size", [2, 10, 1000])
def test_exact_when_attackers_are_near(size):
    """A single power iteration from a random start is wrong here, and each time new."""
    rows = np.random.default_rng(size).standard_normal((13, size))
    rows[10:] += 4 / np.sqrt(size)
    rule = jax.jit(jd.rules.smea(3))
    got = jax.jit(rule)(rows.astype(np.float32))
    expected = oracles.smea(3)(rows.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(jax.jit(rule)(rows.astype(np.float32)), got)


def test_bounds_are_below_the_eigenvalues_and_not_far():
    rows = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)

    @jax.jit
    def found(rows):
        distances = jd.rules.Geometry.of(rows).squared_distances
        kept = _subsets.subset_members(jnp.arange(120), 3, 10)
        bounds = _smea._rayleigh_quotients(distances, kept)
        return kept, bounds, _smea._largest_eigenvalues(distances, kept)

    kept, bounds, values = map(np.asarray, found(rows))
    assert (bounds <= values * (1 + 1e-5)).all()
    assert (bounds >= values * 0.8).all()
    subset = rows[np.asarray(kept[50])]
    subset = (subset - subset.mean(axis=0)).astype(np.float64)
    largest = np.linalg.eigvalsh(subset @ subset.T)[-1]
    np.testing.assert_allclose(values[50], largest, rtol=1e-5)


def test_a_poor_bound_does_not_change_the_choice(monkeypatch):
    """However it starts, the search only ends when no other can be better."""
    monkeypatch.setattr(_smea, "_STEPS", 0)
    rows = np.random.default_rng(1).standard_normal((9, 4))
    got = jax.jit(jd.rules.smea(3))(rows.astype(np.float32))
    np.testing.assert_allclose(got, oracles.smea(3)(rows), rtol=1e-5, atol=1e-6)


def test_ties_go_to_the_first_subset():
    rows = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.smea(1))(rows), [1.0])


def test_its_constant_holds_in_the_worst_direction():
    rule, fast = jd.rules.smea(2), jax.jit(jd.rules.smea(2))
    rng = np.random.default_rng(0)
    for distance in np.geomspace(0.1, 1e12, 20):
        rows = rng.standard_normal((9, 3)).astype(np.float32)
        rows[7:] = distance * rng.standard_normal(3)
        mean = rows[:7].mean(axis=0)
        error = ((np.asarray(fast(rows)) - mean) ** 2).sum()
        largest = np.linalg.eigvalsh(np.cov(rows[:7].T, bias=True))[-1]
        assert error <= rule.contract.robustness(9, 2) * largest
