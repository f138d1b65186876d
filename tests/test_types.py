"""Contracts, geometry, and what a rule of the user's own can rely on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_contract_promises_nothing_by_default():
    contract = jd.Contract()
    assert contract.contraction(10) == -np.inf
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.unbiased = True


def test_contraction_is_what_the_variance_leaves():
    assert jd.Contract(variance=lambda size: 1 / size).contraction(4) == 0.75


def test_reprs_are_names():
    assert repr(jd.error_feedback(jd.top_k(0.1))) == "error_feedback(top_k(0.1))"
    assert repr(jd.trimmed_mean(2)) == "trimmed_mean(2)"
    assert repr(jd.by_leaf(jd.scaled_sign())) == "by_leaf(scaled_sign())"


@pytest.mark.parametrize("size", [5, 4096, 10_000])
def test_geometry_is_exact_around_a_large_mean(size):
    rows = 100 + 0.01 * np.random.default_rng(0).standard_normal((6, size))
    rows = rows.astype(np.float32)
    geometry = jd.Geometry.of(jnp.asarray(rows))
    exact = ((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(geometry.squared_distances, exact, rtol=1e-4)
    norms = (rows.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(geometry.squared_norms, norms, rtol=1e-5)


def test_geometry_travels_as_one_matrix():
    geometry = jd.Geometry.of(jax.random.normal(jax.random.key(0), (4, 7)))
    matrix = geometry.as_matrix()
    assert matrix.shape == (4, 4)
    for given, back in zip(geometry, jd.Geometry.from_matrix(matrix), strict=True):
        np.testing.assert_array_equal(given, back)


def test_bad_workers_are_infinitely_far_away():
    rows = jnp.ones((3, 2)).at[1, 0].set(jnp.nan)
    geometry = jd.Geometry.of(rows).without_nan()
    np.testing.assert_array_equal(
        geometry.squared_distances, [[0, np.inf, 0], [np.inf] * 3, [0, np.inf, 0]]
    )


def test_a_rule_of_the_users_own_can_mix():
    """Nearest-neighbour mixing before a median: what mix and reduce are for."""

    def nearest_two(geometry, key):
        del key
        ranks = jnp.argsort(jnp.argsort(geometry.squared_distances, axis=1), axis=1)
        return (ranks < 2).astype(jnp.float32) / 2

    rule = jd.AggregationRule("mine", jd.median().reduce, nearest_two)
    rows = jnp.array([[0.0], [1.0], [10.0], [11.0], [jnp.nan]])
    # Mixed: 0.5, 0.5, 10.5, 10.5; the last is as far from all, so takes the first two.
    np.testing.assert_allclose(rule(rows), [0.5])


def test_rules_and_attacks_are_functions_that_jax_can_transform():
    rows = jax.random.normal(jax.random.key(0), (3, 5, 4))
    rule = jd.median()
    np.testing.assert_array_equal(jax.jit(rule)(rows[0]), rule(rows[0]))
    np.testing.assert_array_equal(jax.vmap(rule)(rows)[1], rule(rows[1]))
    attack = jax.jit(jd.sign_flip(), static_argnums=1)
    np.testing.assert_array_equal(attack(rows[0], 1)[4], -rows[0, 4])


def test_an_empty_tree_stays_empty():
    assert jd.mean()({}) == {}
