"""Distances that no attacker can spoil, and what follows from them alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.geometry import parts


@pytest.mark.parametrize("num_workers", [6, 64])
@pytest.mark.parametrize("size", [5, 4096, 10_000])
def test_geometry_is_exact_around_a_large_mean(size, num_workers):
    rows = 100 + 0.01 * np.random.default_rng(0).standard_normal((num_workers, size))
    rows = rows.astype(np.float32)
    geometry = jd.rules.Geometry.of(jnp.asarray(rows))
    exact = ((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(geometry.squared_distances, exact, rtol=1e-4)
    norms = (rows.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(geometry.squared_norms, norms, rtol=1e-5)


def test_geometry_travels_as_one_matrix():
    geometry = jd.rules.Geometry.of(jax.random.normal(jax.random.key(0), (4, 7)))
    matrix = geometry.as_array()
    assert matrix.shape == (4, 4)
    again = jd.rules.Geometry.from_array(matrix)
    leaves = map(jax.tree.leaves, (geometry, again))
    for given, back in zip(*leaves, strict=True):
        np.testing.assert_array_equal(given, back)


def test_bad_workers_are_infinitely_far_away():
    rows = jnp.ones((3, 2)).at[1, 0].set(jnp.nan)
    geometry = jd.rules.Geometry.of(rows)
    np.testing.assert_array_equal(
        geometry.squared_distances, [[0, np.inf, 0], [np.inf] * 3, [0, np.inf, 0]]
    )


@pytest.mark.parametrize(
    "bad", [[1e7] * 7, [100.0] * 7, [1e30] * 7, [1e15, 1e9, 1e7, 1e3, 30, 5, 1]]
)
def test_huge_rows_do_not_spoil_the_distances_of_others(bad):
    rng = np.random.default_rng(0)
    rows = (10 + 0.1 * rng.standard_normal((16, 5001))).astype(np.float32)
    rows[9:] += np.array(bad, np.float32)[:, None]
    honest = rows[:9].astype(np.float64)
    exact = ((honest[:, None] - honest) ** 2).sum(axis=-1)
    distances = jax.jit(jd.rules.Geometry.of)(rows).squared_distances
    np.testing.assert_allclose(distances[:9, :9], exact, rtol=1e-5)


def test_the_same_under_vmap():
    rows = jax.random.normal(jax.random.key(0), (3, 5, 100))
    rows = rows.at[1, 4].set(1e9)
    alone, together = (
        jd.rules.Geometry.of(rows[1]),
        jax.jit(jax.vmap(jd.rules.Geometry.of))(rows),
    )
    for one, many in zip(*map(jax.tree.leaves, (alone, together)), strict=True):
        np.testing.assert_allclose(many[1], one, rtol=1e-5)


@pytest.mark.parametrize("mean", [0, 100])
@pytest.mark.parametrize("sums_to_one", [True, False])
def test_the_geometry_of_mixed_rows_follows(mean, sums_to_one):
    rng = np.random.default_rng(0)
    rows = (mean + rng.standard_normal((6, 1000))).astype(np.float32)
    weights = rng.random((4, 6)).astype(np.float32)
    if sums_to_one:
        weights /= weights.sum(axis=1, keepdims=True)
    mixed = weights.astype(np.float64) @ rows
    got = jd.rules.Geometry.of(jnp.asarray(rows)).mixed(jnp.asarray(weights))
    exact = ((mixed[:, None] - mixed) ** 2).sum(axis=-1)
    np.testing.assert_allclose(
        got.squared_distances, exact, rtol=1e-4, atol=1e-6 * exact.max()
    )
    np.testing.assert_allclose(got.squared_norms, (mixed**2).sum(axis=1), rtol=1e-5)


def test_huge_rows_do_not_spoil_the_mixtures_of_others():
    rng = np.random.default_rng(0)
    rows = (10 + rng.standard_normal((9, 100))).astype(np.float32)
    rows[7:] *= -1e7
    weights = rng.random((4, 9)).astype(np.float32)
    weights[:3, 7:] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    mixed = weights[:3].astype(np.float64) @ rows
    got = jd.rules.Geometry.of(jnp.asarray(rows)).mixed(jnp.asarray(weights))
    exact = ((mixed[:, None] - mixed) ** 2).sum(axis=-1)
    np.testing.assert_allclose(got.squared_distances[:3, :3], exact, rtol=1e-3)


def test_a_row_whose_distances_cannot_be_added_up_counts_as_not_finite():
    rows = jnp.ones((5, 4)).at[3].set(7e18).at[4].set(1e18)
    geometry = jd.rules.Geometry.of(rows)
    again = jd.rules.Geometry.from_array(geometry.as_array())
    for found in (geometry, again):
        np.testing.assert_array_equal(found.finite, [True, True, True, False, True])
    mixed = geometry.mixed(jnp.eye(5).at[3].set(jnp.nan))
    np.testing.assert_array_equal(mixed.squared_distances[:3, :3], np.zeros((3, 3)))


def test_zeros_of_the_absent_are_no_majority():
    rows = (1000 + np.random.default_rng(0).standard_normal((9, 200))).astype("f4")
    exact = ((rows[:4, None].astype(np.float64) - rows[:4]) ** 2).sum(axis=-1)
    rows[4:] = 0
    geometry = jd.rules.Geometry.of(jnp.asarray(rows), present=jnp.arange(9) < 4)
    np.testing.assert_allclose(geometry.squared_distances[:4, :4], exact, rtol=1e-4)


@pytest.mark.parametrize("sees", [jd.rules.Geometry, jd.rules.Norms])
@pytest.mark.parametrize("shape", [(9,), (4, 9)])
def test_mixtures_can_be_measured(sees, shape):
    rng = np.random.default_rng(0)
    rows, anchor = jnp.asarray(rng.random((8, 20), np.float32)), jnp.ones(20)
    mixture = jnp.asarray(rng.random(shape, np.float32))
    weights = jnp.diag(mixture) if mixture.ndim == 1 else mixture
    mixed = weights @ jnp.concatenate([rows, anchor[None]])
    found = sees.of(rows, anchor, mixture).as_array()
    np.testing.assert_allclose(found, sees.of(mixed).as_array(), rtol=1e-4, atol=1e-5)


def test_products_follow_from_distances():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 30)).astype(np.float32)
    geometry = jd.rules.Geometry.of(jnp.asarray(rows))
    np.testing.assert_allclose(geometry.inner_products(), rows @ rows.T, atol=1e-4)
    weights = np.array([0.5, 0.5, 0, 0, 0], np.float32)
    moved = rows - weights @ rows
    np.testing.assert_allclose(
        geometry.centred(jnp.asarray(weights)), moved @ moved.T, atol=1e-4
    )
    moved = rows - rows.mean(axis=0)
    np.testing.assert_allclose(geometry.centred(), moved @ moved.T, atol=1e-4)


def test_bad_workers_have_no_products_and_mix_to_nothing_finite():
    rows = jnp.ones((3, 2)).at[1, 0].set(jnp.inf)
    geometry = jd.rules.Geometry.of(rows)
    np.testing.assert_array_equal(geometry.finite, [True, False, True])
    expected = [[2, 0, 2], [0, 0, 0], [2, 0, 2]]
    np.testing.assert_array_equal(geometry.inner_products(), expected)
    np.testing.assert_array_equal(geometry.centred(), np.zeros((3, 3)))
    weights = jnp.array([[0.5, 0, 0.5], [jnp.nan] * 3, [1.0, 0, 0]])
    mixed = geometry.mixed(weights)
    np.testing.assert_array_equal(mixed.finite, [True, False, True])
    assert float(mixed.squared_distances[0, 2]) == 0


def test_of_parts_it_is_that_of_the_whole():
    parts.assert_sums_up(jd.rules.Geometry)
