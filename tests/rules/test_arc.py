"""Adaptive clipping: how many, to which norm, and the constant it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles

LENGTHS = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 7.0, 8.0])


def clipped_lengths(num_byzantine, lengths):
    """Return the norms of what the next rule sees of rows on one line."""
    rule = jd.rules.arc(num_byzantine, then=jd.rules.median())
    mix = rule.mix
    assert mix is not None

    @jax.jit
    def weights_of(rows):
        return mix(jd.rules.Geometry.of(rows), jax.random.key(0), ())[0]

    return np.asarray(weights_of(np.float32(lengths)[:, None])) * lengths


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
        jax.jit(jd.rules.arc(1, then=jd.rules.mean()))(rows), np.ones(4), rtol=1e-6
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
        merged = np.asarray(jax.jit(rule)(rows))
        for _ in range(20):
            honest = rows[rng.permutation(9)[:7]]
            mean = honest.mean(axis=0)
            spread = ((honest - mean) ** 2).sum() / 7
            assert ((merged - mean) ** 2).sum() <= bound * spread


def far_attackers(deviations):
    """Return rows ``[n, W, d]``: two attackers say the opposite, ever louder."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9, 40)) + deviations * np.sign(rng.standard_normal(40))
    loud = [1e2, 1e4, 1e6, 1e8, 1e12, 1e17, 1e19, 1e25, 1e30]
    opposite = -np.asarray(loud)[:, None, None] * rows[:7].mean(axis=0)
    stacked = np.broadcast_to(rows, (len(loud), 9, 40)).copy()
    stacked[:, 7:] = opposite
    return stacked.astype(np.float32)


def scattered(rule):
    """Return the rule on the route scatter."""

    def worker(updates):
        tx = jd.aggregate("data", rule, route="scatter")
        return tx.update(updates, tx.init(updates))[0]

    return lambda rows: jax.jit(jax.vmap(worker, axis_name="data"))(rows)[0]


RECOMMENDED = (
    jd.rules.arc(2, then=jd.rules.nnm(2, then=jd.rules.trimmed_mean(2))),
    oracles.arc(2, oracles.nnm(2, oracles.trimmed_mean(2))),
)
BEHIND = {
    "recommended": RECOMMENDED,
    "scatter": RECOMMENDED,
    "minimum_variance": (
        jd.rules.arc(2, then=jd.rules.minimum_variance(2)),
        oracles.arc(2, oracles.minimum_variance(2)),
    ),
    "geometric_median": (
        jd.rules.arc(2, then=jd.rules.geometric_median()),
        oracles.arc(2, oracles.geometric_median),
    ),
    "twice": (
        jd.rules.arc(2, then=jd.rules.arc(2, then=jd.rules.multi_krum(2))),
        oracles.arc(2, oracles.arc(2, oracles.multi_krum(2))),
    ),
    "behind_nnm": (
        jd.rules.nnm(2, then=jd.rules.arc(2, then=jd.rules.smea(2))),
        oracles.nnm(2, oracles.arc(2, oracles.smea(2))),
    ),
}


@pytest.mark.parametrize("name", BEHIND)
def test_how_loud_attackers_are_does_not_matter(name):
    """The geometry of the long would hide how the clipped lie."""
    rule, oracle = BEHIND[name]
    apply = scattered(rule) if name == "scatter" else rule
    compiled = jax.jit(lambda rows: jax.lax.map(apply, rows))
    bound = rule.contract.robustness(9, 2)
    for deviations in (10, 30, 1000):
        rows = far_attackers(deviations)
        honest = rows[0, :7].astype(np.float64)
        spread = ((honest - honest.mean(axis=0)) ** 2).sum() / 7
        merged = np.asarray(compiled(rows), np.float64)
        errors = ((merged - honest.mean(axis=0)) ** 2).sum(axis=1)
        assert (errors <= bound * spread).all()
        expected = np.stack([oracle(sent.astype(np.float64)) for sent in rows])
        off = np.linalg.norm(merged - expected, axis=1)
        assert (off <= 1e-3 * np.sqrt(spread)).all(), (deviations, off)


def test_a_range_and_a_rule():
    with pytest.raises(ValueError, match=r"`num_byzantine` .* \[0, 4\] for arc\(5\)"):
        jd.rules.arc(5, then=jd.rules.median())(jnp.ones((9, 1)))
    with pytest.raises(TypeError, match="`then` must be of type AggregationRule"):
        jd.rules.arc(1, then=jd.rules.krum)
