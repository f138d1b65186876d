"""Influence: the weights of rules that mix, and of others what they averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules import _influence

ROWS = jax.random.normal(jax.random.key(0), (7, 3000))


def measured(rule, mixture=None, weight=None):
    part = rule.contributions(ROWS, None, weight)
    result = rule.apply(part, mixture, weight=weight)
    return result, _influence.measure_part(part, result, mixture, rule, weight)


def test_mixtures_are_the_influence():
    mixture = jnp.asarray([[0.5, 0, 0, 0.25, 0, 0.25, 0]])
    result, (influence, used, squared) = measured(jd.rules.krum(1), mixture)
    np.testing.assert_allclose(influence / 3000, mixture[0], rtol=1e-5)
    np.testing.assert_array_equal(used / 3000, mixture[0] > 0)
    exact = ((np.asarray(ROWS) - np.asarray(result)) ** 2).sum(axis=1)
    np.testing.assert_allclose(squared, exact, rtol=1e-4)


@pytest.mark.parametrize("weight", [None, jnp.asarray([1.0, 1, 0, 1, 1, 1, 1])])
def test_what_was_trimmed_has_none(weight):
    _, (influence, used, _) = measured(jd.rules.trimmed_mean(2), weight=weight)
    there = 7 if weight is None else 6
    assert float(jnp.sum(used)) == pytest.approx(3000 * (there - 4))
    assert float(jnp.sum(influence)) == pytest.approx(3000, rel=1e-4)
    assert weight is None or float(influence[2]) == float(used[2]) == 0


def test_the_nearest_and_their_spread():
    squared = jnp.asarray([4.0, jnp.nan, 1.0, 2.0])
    near = _influence.nearest_rows(squared, 2)
    np.testing.assert_array_equal(near, [False, False, True, True])
    rows = jnp.asarray([[9.0, 9], [9, 9], [1, 0], [3, 0]])
    found = _influence.measure_nearest(rows, jnp.asarray([2.0, 1]), near)
    np.testing.assert_allclose(found, [1.0, 1.0, 2.0])
