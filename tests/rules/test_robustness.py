"""The constants: what is claimed of how many, and of rules behind rules."""

import jax
import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    "rule", [jd.rules.trimmed_mean(3), jd.rules.krum(3), jd.rules.smea(3)], ids=repr
)
def test_a_rule_promises_nothing_beyond_its_range(rule):
    known = rule.contract.robustness(11, 3)
    assert 0 < known < np.inf
    assert rule.contract.robustness(11, 4) == np.inf
    assert rule.contract.robustness(6, 3) == np.inf  # no rule is robust there
    # It trims as many though fewer attack, which costs as much as if they did.
    assert rule.contract.robustness(11, 1) == known


def test_a_median_errs_less_where_fewer_attack():
    of = jd.rules.median().contract.robustness
    assert of(16, 3) == 8 / 5
    assert of(16, 3) < of(16, 5) < of(16, 7) < of(16, 8) == np.inf


@pytest.mark.parametrize("before", [jd.rules.nnm, jd.rules.arc])
def test_a_rule_for_fewer_spoils_what_is_before_it(before):
    enough = before(2, then=jd.rules.trimmed_mean(2)).contract
    assert enough.robustness(11, 2) < np.inf
    too_few = before(2, then=jd.rules.trimmed_mean(1)).contract
    assert too_few.robustness(11, 2) == np.inf
    unproved = before(0, then=jd.rules.bulyan(0)).contract
    assert unproved.robustness(11, 0) == np.inf


@pytest.mark.parametrize("before", [jd.rules.nnm, jd.rules.arc])
def test_a_narrow_range_is_that_of_both(before):
    rule = before(3, then=jd.rules.krum(3))
    assert rule.contract.limit == jd.rules.krum(3).contract.limit
    assert rule.contract.largest(8) == 2
    with pytest.raises(ValueError, match=r"`num_byzantine`.*\[0, 2\]"):
        rule.check(8)


def test_a_rule_before_another_tolerates_no_more_than_that():
    buckets = jd.rules.bucketing(2, 2, then=lambda f: jd.rules.trimmed_mean(f - 1))
    assert buckets.contract.tolerated(11) == 1
    for before in (jd.rules.nnm, jd.rules.arc):
        fewer = before(2, then=jd.rules.trimmed_mean(1))
        assert fewer.contract.tolerated(11) == 1
        for none in (before(2, then=jd.rules.mean()), before(2, then=of_nobody())):
            assert none.contract.num_byzantine is None
            assert none.contract.tolerated(11) == 0
            # What is wrong passes, as it does without the mixing.
            rows = np.ones((11, 3), np.float32)
            rows[:2] = np.nan
            assert np.isnan(jax.jit(none)(rows)).all()
            with pytest.raises(ValueError, match=r"`num_byzantine` .* \[0, 1\]"):
                none.check(4)


def of_nobody():
    return jd.rules.clipping(1.0, then=jd.rules.mean())
