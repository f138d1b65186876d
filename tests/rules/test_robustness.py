"""The constants: what is claimed of how many, and of rules behind rules."""

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
