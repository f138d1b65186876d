"""Present: the order statistics of those who are there, as NumPy sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import rules
from jaxdist.geometry import _columns
from jaxdist.rules.numerics import _present

ROWS = np.random.default_rng(0).standard_normal((9, 40)).astype(np.float32)
WEIGHT = np.asarray([1, 0, 1, 1, 0, 2, 1, 1, 1], np.float32)
THERE = ROWS[WEIGHT > 0]


def values(rows=ROWS):
    return _present.sort_present(jnp.asarray(rows), jnp.asarray(WEIGHT))


def test_those_who_do_not_count_are_behind():
    rows = ROWS.copy()
    rows[1], rows[2, :5] = np.nan, np.inf
    found = values(rows)
    assert int(found.num_rows) == 7
    np.testing.assert_array_equal(found.num_bad, [1] * 5 + [0] * 35)
    finite = np.where(np.isfinite(rows[WEIGHT > 0]), rows[WEIGHT > 0], np.inf)
    np.testing.assert_array_equal(found.ordered[:7], np.sort(finite, axis=0))
    np.testing.assert_array_equal(found.ordered[7:], np.full((2, 40), np.inf))


def test_medians():
    lower, upper = jax.jit(lambda: _present.median_of_present(values()))()
    np.testing.assert_array_equal(lower, np.median(THERE, axis=0))
    np.testing.assert_array_equal(upper, lower)


@pytest.mark.parametrize("f", [0, 1, 3])
def test_trimmed_means(f):
    found = _present.trimmed_mean_of_present(values(), f)
    kept = np.sort(THERE, axis=0)[f : 7 - f]
    np.testing.assert_allclose(found, kept.mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [0, 1, 3])
def test_means_of_the_nearest(f):
    def centre_of(moved):
        return _present.median_of_present(moved)[0]

    found = _present.mean_of_nearest_present(values(), f, centre_of)
    far = np.abs(THERE - np.median(THERE, axis=0))
    nearest = np.take_along_axis(THERE, np.argsort(far, axis=0)[: 7 - f], axis=0)
    np.testing.assert_allclose(found, nearest.mean(axis=0), rtol=1e-5, atol=1e-6)


RULES = [
    rules.median(),
    rules.median("lower"),
    rules.trimmed_mean(2),
    rules.meamed(2),
    rules.phocas(2),
    rules.bulyan(1),
    rules.krum(2),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_many_rows_are_reduced_as_few_are(rule, monkeypatch):
    rows = ROWS.copy()
    rows[3, 5:] = np.nan
    few = jax.jit(rule.__call__)(jnp.asarray(rows))
    monkeypatch.setattr(_columns, "FEW", 4)
    many = jax.jit(rule.__call__)(jnp.asarray(rows))
    np.testing.assert_allclose(many, few, rtol=1e-6, atol=1e-6)
    assert np.any(np.asarray(few) != 0)


def test_derivatives_of_a_total_are_those_of_its_rows():
    low, high = jnp.asarray(2), jnp.arange(40, dtype=jnp.int32) % 9

    def total(ordered):
        found = _present.Present(ordered, jnp.asarray(9), jnp.zeros(40, jnp.int32))
        return jnp.sum(found.total_between(low, high))

    places = np.arange(9)[:, None]
    expected = (places >= 2) & (places < np.asarray(high))
    np.testing.assert_array_equal(jax.grad(total)(ROWS), expected.astype(np.float32))
