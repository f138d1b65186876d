"""Bucketing: who shares a bucket, what a short one weighs, and how many are spoilt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

ROWS = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
GEOMETRY = jd.rules.Geometry.of(jnp.asarray(ROWS))
KEYS = jax.random.split(jax.random.key(1), 3)


def buckets_of(geometry, key, size=3, num_byzantine=0):
    """Return the weights of the mixtures."""
    rule = jd.rules.bucketing(size, num_byzantine, then=lambda f: jd.rules.median())
    assert rule.mix is not None
    return np.asarray(rule.mix(geometry, key, ())[0])


@pytest.mark.parametrize("seed", range(3))
def test_workers_share_buckets_and_the_last_is_short(seed):
    weights = buckets_of(GEOMETRY, KEYS[seed])
    together = weights > 0
    np.testing.assert_array_equal(together, together.T)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert sorted(together.sum(axis=1)) == [1, 3, 3, 3, 3, 3, 3]


def test_keys_draw_buckets():
    first, second, _ = (buckets_of(GEOMETRY, key) for key in KEYS)
    np.testing.assert_array_equal(first, buckets_of(GEOMETRY, KEYS[0]))
    assert (first != second).any()


def test_a_short_bucket_weighs_what_it_holds():
    """So the mean stays the mean: equal weights for all buckets would change it."""
    rule = jd.rules.bucketing(2, 0, then=lambda f: jd.rules.mean())
    np.testing.assert_allclose(
        jax.jit(rule)(ROWS), ROWS.mean(axis=0), rtol=1e-5, atol=1e-6
    )


def test_buckets_of_one_change_nothing():
    rule = jd.rules.bucketing(1, 2, then=jd.rules.trimmed_mean)
    np.testing.assert_allclose(
        jax.jit(rule)(ROWS), jax.jit(jd.rules.trimmed_mean(2))(ROWS), rtol=1e-5
    )


def test_a_worker_that_is_not_finite_spoils_its_bucket():
    geometry = jd.rules.Geometry.of(jnp.asarray(ROWS).at[2, 1].set(jnp.nan))
    weights = buckets_of(geometry, KEYS[0], num_byzantine=1)
    shared = buckets_of(GEOMETRY, KEYS[0])[2] > 0
    np.testing.assert_array_equal(np.isnan(weights).all(axis=1), shared)
    np.testing.assert_array_equal(np.isnan(weights).any(axis=1), shared)


def test_one_liar_spoils_as_many_rows_as_its_bucket_has():
    seen = []
    jd.rules.bucketing(3, 2, then=lambda f: seen.append(f) or jd.rules.trimmed_mean(f))
    assert seen == [6]
    rule = jd.rules.bucketing(3, 1, then=jd.rules.trimmed_mean)
    jax.jit(rule)(ROWS)
    with pytest.raises(ValueError, match=r"`num_byzantine` .* \[0, 1\] for bucketing"):
        jd.rules.bucketing(3, 2, then=jd.rules.trimmed_mean)(ROWS)
    for seed in range(5):
        merged = jax.jit(rule)(jnp.asarray(ROWS).at[seed].set(1e6))
        assert (np.abs(merged) < 3).all()


@pytest.mark.parametrize("then", [jd.rules.median(), "krum", lambda f: f])
def test_the_next_rule_is_made_for_the_buckets(then):
    with pytest.raises(TypeError, match="`then` must"):
        jd.rules.bucketing(2, 1, then=then)


def test_sizes_and_counts_are_checked():
    with pytest.raises(ValueError, match="`bucket_size` must .* got 0"):
        jd.rules.bucketing(0, 1, then=jd.rules.krum)
    with pytest.raises(ValueError, match="`num_byzantine` must .* got -1"):
        jd.rules.bucketing(2, -1, then=jd.rules.krum)
