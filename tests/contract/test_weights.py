"""Weights: a worker of weight 0 is absent, and the mean weighs the others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import table

RNG = np.random.default_rng(0)
WEIGHT = np.asarray([2.0, 0.0, 1.0, 3.0, 0.5, 1.0, 0.0, 1.0, 1.0, 4.0, 2.0], np.float32)
ONES = (WEIGHT > 0).astype(np.float32)
ROWS = RNG.standard_normal((11, 23)).astype(np.float32)
EVERY = pytest.mark.parametrize("row", table.RULES, ids=table.names(table.RULES))
# Buckets of fewer workers are drawn otherwise; static weights are of all workers.
RULES = [
    row
    for row in table.RULES
    if not row.rule.name.startswith(("bucketing", "mean(weights)"))
]
SELECTED = pytest.mark.parametrize("row", RULES, ids=table.names(RULES))
DEAF = [row for row in RULES if not row.rule.contract.weighs]
DEAF = [row for row in DEAF if not row.rule.name.endswith("mean()")]


@functools.cache
def weighted(rule):
    """Return ``(rows, weight) -> result``; a reference gradient is one of ones."""
    return jax.jit(lambda rows, weight: rule(rows, weight=weight, **anchor(rule)))


@functools.cache
def without_weight(rule):
    return jax.jit(lambda rows: rule(rows, **anchor(rule)))


def anchor(rule):
    return {"anchor": jnp.ones(ROWS.shape[1])} if rule.takes_reference else {}


def assert_equals_those_there(row, rows, absent):
    """Compare with the rule of the others, whatever the absent have to say."""
    there = np.setdiff1d(np.arange(11), absent)
    weight = np.isin(np.arange(11), there).astype(np.float32)
    found = weighted(row.rule)(rows, weight)
    expected = without_weight(row.rule)(rows[there])
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=max(row.atol, 1e-5))


@SELECTED
def test_absent_workers_are_not_there(row):
    rows = np.where(np.isin(np.arange(11), [1, 6])[:, None], np.nan, ROWS)
    assert_equals_those_there(row, rows, [1, 6])
    assert_equals_those_there(row, ROWS, [])


@SELECTED
def test_who_is_not_finite_is_there_and_counts_as_byzantine(row):
    """The mean passes it on."""
    rows = ROWS.copy()
    rows[1], rows[4, 3] = np.nan, np.inf
    assert_equals_those_there(row, rows, [1])


def test_the_others_are_compared_though_most_are_absent():
    """Zeros stand for who is absent: they are no majority around which to measure."""
    rows = ROWS + np.float32(1000)
    for row in RULES:
        if row.rule.name in ("geometric_median()", "minimum_variance(2)"):
            assert_equals_those_there(row, rows, range(5, 11))


@EVERY
def test_nobody_there_gives_zero(row):
    rows = np.full((11, 23), np.nan, np.float32)
    found = weighted(row.rule)(rows, np.zeros(11, np.float32))
    np.testing.assert_array_equal(found, np.zeros(23))


@pytest.mark.parametrize("row", DEAF, ids=table.names(DEAF))
def test_most_rules_ask_only_whether_a_weight_is_zero(row):
    found, expected = (weighted(row.rule)(ROWS, weight) for weight in (WEIGHT, ONES))
    np.testing.assert_array_equal(found, expected)


def test_buckets_are_filled_by_those_who_are_there():
    """In buckets of two, nine workers are four pairs and one alone."""
    rows = np.eye(11, dtype=np.float32)
    rule = jd.rules.bucketing(2, 0, then=lambda f: jd.rules.median("lower"))
    seen = jd.rules.bucketing(2, 0, then=lambda f: jd.rules.mean())
    assert np.asarray(weighted(rule)(rows, ONES)).max() == 0
    shares = np.asarray(weighted(seen)(rows, ONES))
    np.testing.assert_allclose(shares, ONES / 9, rtol=1e-6)
    geometry = jd.rules.Norms.of(jnp.asarray(rows)).with_weight(jnp.asarray(ONES))
    mixture, _ = seen.mix(geometry, jax.random.key(0), ())
    assert mixture.shape == (1, 11) and (np.asarray(mixture)[0, [1, 6]] == 0).all()
    of_one = jd.rules.bucketing(1, 2, then=jd.rules.krum)
    np.testing.assert_array_equal(
        weighted(of_one)(ROWS, ONES), weighted(jd.rules.krum(2))(ROWS, ONES)
    )


@pytest.mark.parametrize(
    "rule",
    [
        jd.rules.trimmed_mean(2),
        jd.rules.krum(2),
        jd.rules.nnm(2, then=jd.rules.median()),
    ],
)
def test_too_few_who_are_there_give_zero(rule):
    """Two Byzantine of four are out of range: there is no majority to trust."""
    weight = (np.arange(11) < 4).astype(np.float32)
    np.testing.assert_array_equal(weighted(rule)(ROWS, weight), np.zeros(23))


def test_means_weigh():
    expected = np.average(ROWS, axis=0, weights=WEIGHT)
    found = weighted(jd.rules.mean())(ROWS, WEIGHT)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    static = jd.rules.mean(weights=range(1, 12))
    expected = np.average(ROWS, axis=0, weights=WEIGHT * np.arange(1, 12))
    found = weighted(static)(ROWS, WEIGHT)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_worker_of_weight_two_is_two_workers_for_the_geometric_median():
    rule = jd.rules.geometric_median(tolerance=1e-7, max_iterations=1000)
    weight = np.ones(11, np.float32)
    weight[[0, 3]] = 2
    twice = np.concatenate([ROWS, ROWS[[0, 3]]])
    expected = without_weight(rule)(twice)
    found = weighted(rule)(ROWS, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_rule_that_knows_no_absent_workers_says_so():
    rule = jd.AggregationRule("mine", reduce=lambda rows: rows[0])
    with pytest.raises(ValueError, match="`weight`.*mine.*knows_absent=True"):
        rule(ROWS, weight=ONES)
    promises = jd.RuleContract(knows_absent=True)
    rule = jd.AggregationRule("mine", reduce=lambda rows: rows[0], contract=promises)
    with pytest.raises(ValueError, match="`weight`.*mine has no `reduce_weighted`"):
        rule(ROWS, weight=ONES)


@pytest.mark.parametrize("weight", [jnp.ones(3), jnp.ones((11, 1)), 1.0])
def test_weights_have_one_number_for_each_worker(weight):
    with pytest.raises(ValueError, match=r"`weight` must have the shape .*\(11,\)"):
        jd.rules.median()(ROWS, weight=weight)
