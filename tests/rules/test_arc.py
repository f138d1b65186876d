"""Adaptive clipping: how many, to which norm, and the constant it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

LENGTHS = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 7.0, 8.0])


def clipped_lengths(num_byzantine, lengths):
    """Return the norms of what the next rule sees of rows on one line."""
    geometry = jd.rules.Geometry.of(jnp.asarray(lengths, jnp.float32)[:, None])
    rule = jd.rules.arc(num_byzantine, then=jd.rules.median())
    assert rule.mix is not None
    weights, _ = rule.mix(geometry, jax.random.key(0), ())
    return np.asarray(weights) * lengths


# k = 2 f (W - f) / W, rounded down: 0, 1.75, 3 and 3.75 for eight workers.
@pytest.mark.parametrize(
    ("num_byzantine", "radius"), [(0, 9.0), (1, 8.0), (2, 5.0), (3, 5.0)]
)
def test_the_longest_are_as_long_as_the_next(num_byzantine, radius):
    np.testing.assert_allclose(
        clipped_lengths(num_byzantine, LENGTHS), np.minimum(LENGTHS, radius), rtol=1e-6
    )


def test_the_number_clipped_is_exact():
    """2 * 0.1 * 27 in floats is more than 5.4, and 2 * (7 / 49) * 42 less than 12."""
    for num_workers, f in ((30, 3), (49, 7), (100, 10)):
        lengths = np.arange(1.0, num_workers + 1)
        got = clipped_lengths(f, lengths)
        num_clipped = 2 * f * (num_workers - f) // num_workers
        assert np.sum(got < lengths - 1e-3) == num_clipped


def test_whoever_is_not_finite_counts_as_the_longest():
    lengths = np.where(LENGTHS == 2, np.nan, LENGTHS)
    got = clipped_lengths(2, lengths)
    np.testing.assert_allclose(
        got[np.isfinite(got)], np.minimum(lengths[np.isfinite(lengths)], 7), rtol=1e-6
    )


def test_a_huge_liar_moves_the_mean_no_farther_than_an_honest_one():
    rows = jnp.ones((9, 4)).at[0].set(1e15)
    np.testing.assert_allclose(
        jd.rules.arc(1, then=jd.rules.mean())(rows), np.ones(4), rtol=1e-6
    )


def test_the_constant_holds():
    """Against random sets of honest workers with clipped ones among them."""
    rng = np.random.default_rng(0)
    rule = jd.rules.arc(2, then=jd.rules.trimmed_mean(2))
    bound = rule.contract.robustness(9, 2)
    assert bound == jd.rules.trimmed_mean(2).contract.robustness(9, 2) + 4 / 5
    for scale in (1.0, 10.0, 1000.0):
        rows = rng.standard_normal((9, 3)) * rng.choice([1, scale], (9, 1))
        rows = rows.astype(np.float32)
        merged = np.asarray(rule(rows))
        for _ in range(20):
            honest = rows[rng.permutation(9)[:7]]
            mean = honest.mean(axis=0)
            spread = ((honest - mean) ** 2).sum() / 7
            assert ((merged - mean) ** 2).sum() <= bound * spread


def test_a_range_and_a_rule():
    with pytest.raises(ValueError, match=r"`num_byzantine` .* \[0, 4\] for arc\(5\)"):
        jd.rules.arc(5, then=jd.rules.median())(jnp.ones((9, 1)))
    with pytest.raises(TypeError, match="`then` must be of type AggregationRule"):
        jd.rules.arc(1, then=jd.rules.krum)
