"""The search comes near constants that are known, and exposes what is fragile."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing

FEW = dict(num_starts=64, num_steps=100)


def test_it_finds_the_lower_bound_of_all_rules():
    # f / (W - 2f) at W = 11, f = 2, which the trimmed mean does not exceed.
    found = testing.estimate_kappa(jd.rules.trimmed_mean(2), 11, 2, **FEW)
    np.testing.assert_allclose(found.kappa, 2 / 7, rtol=0.02)
    rows = np.asarray(found.rows, np.float64)
    honest = rows[:9]
    spread = ((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean()
    kept = np.sort(rows, axis=0)[2:-2].mean(axis=0)
    error = ((kept - honest.mean(axis=0)) ** 2).sum()
    np.testing.assert_allclose(error / spread, found.kappa, rtol=1e-3)


def test_it_exposes_the_mean():
    assert testing.estimate_kappa(jd.rules.mean(), 11, 2, **FEW).kappa > 1e4


@pytest.mark.parametrize(
    "rule",
    [
        jd.rules.cge(2),
        jd.rules.nnm(2, then=jd.rules.trimmed_mean(1)),
        jd.rules.arc(2, then=jd.rules.trimmed_mean(1)),
    ],
    ids=repr,
)
def test_it_exposes_rules_that_claim_nothing(rule):
    assert rule.contract.robustness(11, 2) == np.inf
    assert testing.estimate_kappa(rule, 11, 2, **FEW).kappa > 1e2


def test_it_exposes_a_geometric_median_of_one_step_from_zero():
    def one_step(geometry, key, memory):
        del key
        weights = 1 / jnp.maximum(jnp.sqrt(geometry.squared_norms), 0.1)
        return (weights / jnp.sum(weights))[None], memory

    rule = jd.AggregationRule("one step", mix=one_step)
    assert testing.estimate_kappa(rule, 11, 2, **FEW).kappa > 1e3


def test_without_attackers_robust_rules_may_still_err_but_the_mean_does_not():
    assert testing.estimate_kappa(jd.rules.mean(), 5, 0, **FEW).kappa < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_workers=4, num_byzantine=2), r"`num_byzantine` must be in \[0, 1\]"),
        (dict(num_workers=4, num_byzantine=1, num_starts=0), "`num_starts` must be"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        testing.estimate_kappa(jd.rules.median(), **arguments)
