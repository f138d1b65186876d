"""Radii: lengths, and distances from an anchor."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.geometry import parts


def test_of_parts_they_are_those_of_the_whole():
    radii = parts.assert_sums_up(jd.rules.Radii)
    assert radii.squared_distances.shape == (5,)
    assert jnp.isinf(radii.squared_distances[parts.BAD])


def test_products_with_the_anchor():
    rows, anchor = jnp.asarray([[3.0, 4.0], [1.0, -1.0]]), jnp.asarray([2.0, 0.5])
    np.testing.assert_allclose(jd.rules.Radii.of(rows, anchor).products(), [8.0, 1.5])
    bad = jd.rules.Radii.of(rows.at[0, 0].set(jnp.nan), anchor).products()
    np.testing.assert_allclose(bad, [0.0, 1.5])


def test_a_large_common_mean_costs_no_digits():
    noise = np.random.default_rng(0).standard_normal((4, 10_000)).astype(np.float32)
    rows, anchor = 100 + 0.01 * noise, np.full(10_000, 100, np.float32)
    exact = ((rows.astype(float) - anchor) ** 2).sum(axis=1)
    found = jd.rules.Radii.of(jnp.asarray(rows), jnp.asarray(anchor)).squared_distances
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_they_need_an_anchor():
    with pytest.raises(ValueError, match="`anchor` must be given"):
        jd.rules.Radii.of(jnp.ones((3, 2)))


def test_of_mixtures_the_last_is_the_anchor():
    rows, anchor = jnp.asarray([[3.0, 4.0], [1.0, -1.0]]), jnp.asarray([2.0, 0.5])
    found = jd.rules.Radii.of(rows, anchor, jnp.asarray([1.0, 2.0, 2.0]))
    expected = jd.rules.Radii.of(rows * jnp.asarray([[1.0], [2.0]]), 2 * anchor)
    np.testing.assert_allclose(found.as_array(), expected.as_array(), rtol=1e-6)
