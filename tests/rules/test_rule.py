"""What every rule, and one of the user's own, can rely on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_a_rule_of_the_users_own_can_mix():
    """Nearest-neighbour mixing before a median: what mix and reduce are for."""

    def nearest_two(geometry, key, memory):
        del key
        ranks = jnp.argsort(jnp.argsort(geometry.squared_distances, axis=1), axis=1)
        return (ranks < 2).astype(jnp.float32) / 2, memory

    rule = jd.AggregationRule("mine", jd.rules.median().reduce, nearest_two)
    rows = jnp.array([[0.0], [1.0], [10.0], [11.0], [jnp.nan]])
    # Mixed: 0.5, 0.5, 10.5, 10.5; the last is as far from all, so takes the first two.
    np.testing.assert_allclose(jax.jit(rule)(rows), [0.5])


def test_rules_and_attacks_are_functions_that_jax_can_transform():
    rows = jax.random.normal(jax.random.key(0), (3, 5, 4))
    rule = jd.rules.median()
    np.testing.assert_array_equal(jax.jit(rule)(rows[0]), jax.jit(rule)(rows[0]))
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(rule))(rows)[1], jax.jit(rule)(rows[1])
    )
    attack = jax.jit(jd.attacks.sign_flip(), static_argnums=1)
    np.testing.assert_array_equal(
        jax.jit(attack, static_argnums=1)(rows[0], 1)[4], -rows[0, 4]
    )


def test_an_empty_tree_stays_empty():
    assert jax.jit(jd.rules.mean())({}) == {}


def _to_anchor(geometry, key, memory):
    """Take the worker that is nearest to the last row."""
    del key
    nearest = jnp.argmin(geometry.squared_distances[-1, :-1])
    num_rows = geometry.squared_norms.shape[0]
    return (jnp.arange(num_rows) == nearest)[None].astype(jnp.float32), memory


@pytest.mark.parametrize(("anchor", "expected"), [(None, 1.0), ([7.0], 6.0)])
def test_a_rule_sees_its_previous_result(anchor, expected):
    rule = jd.AggregationRule("nearest", mix=_to_anchor, anchor="previous")
    rows = jnp.array([[1.0], [6.0], [20.0]])
    anchor = None if anchor is None else jnp.array(anchor)
    np.testing.assert_array_equal(jax.jit(rule)(rows, anchor=anchor), [expected])


def test_anchors_must_fit_the_rule():
    rows = jnp.ones((3, 2))
    needs = jd.AggregationRule("nearest", mix=_to_anchor, anchor="reference")
    with pytest.raises(ValueError, match="`anchor` must be the reference gradient"):
        needs(rows)
    with pytest.raises(ValueError, match=r"`anchor` must be None for median\(\)"):
        jd.rules.median()(rows, anchor=rows[0])


def test_many_columns_are_mixed_as_few_at_once():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 20_003)).astype(np.float32)
    weights = rng.random((4, 5)).astype(np.float32)
    rule = jd.AggregationRule("max", lambda rows: jnp.max(rows, axis=0))
    part = rule.contributions(jnp.asarray(rows))
    got = rule.apply(part, jnp.asarray(weights))
    expected = (weights @ rows).max(axis=0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    scales = np.diag(weights[:, :4])
    rule_of_four = rule.apply(
        rule.contributions(jnp.asarray(rows[:4])), jnp.asarray(scales)
    )
    np.testing.assert_allclose(rule_of_four, (scales[:, None] * rows[:4]).max(axis=0))


def test_one_nan_more_than_tolerated_gives_zero():
    rows = jnp.arange(12.0).reshape(6, 2)
    rule = jd.rules.trimmed_mean(1)
    assert (jax.jit(rule)(rows.at[0, 0].set(jnp.nan)) != 0).all()
    # In other coordinates, so that each of them alone could be mended.
    bad = rows.at[0, 0].set(jnp.nan).at[1, 1].set(jnp.inf)
    np.testing.assert_array_equal(jax.jit(rule)(bad), [0, 0])
