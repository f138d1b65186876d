"""What the properties of rules are tried on."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.testing import _rule_properties


def setting(rule, oracle=None):
    return _rule_properties.RuleSetting(
        rule, 9, 16, 0, oracle, (jd.attacks.sign_flip(),)
    )


def test_attackers_are_the_last_and_go_far():
    tried = setting(jd.rules.trimmed_mean(2))
    honest = tried.rows()[:7]
    farthest = 0.0
    for rows in _rule_properties._attacked_rows(tried):
        np.testing.assert_array_equal(rows[:7], honest)
        farthest = max(farthest, float(jnp.max(jnp.abs(rows[7:]))))
    assert farthest > 1e8


def test_bad_rows_are_bad_everywhere_or_in_one_coordinate():
    counts = [
        int(jnp.sum(~jnp.isfinite(rows))) for rows in _rule_properties._bad_rows(2, 16)
    ]
    assert counts == [32, 2] * 3


def test_anchors_move_with_the_rows():
    rule = jd.AggregationRule(
        "anchor",
        mix=lambda geometry, key, memory: (jnp.eye(10)[-1:], memory),
        anchor="previous",
    )
    tried = setting(rule)
    moved = tried.apply(tried.rows(), shift=jnp.ones(16), scale=2.0)
    np.testing.assert_allclose(moved, 2 * tried.anchor + 1, rtol=1e-6)


def test_details_say_on_what_it_was_tried():
    tried = setting(jd.rules.median(), lambda rows: np.median(rows, axis=0))
    assert _rule_properties.not_finite(tried) == (
        "4 with NaN, infinity or both; zero for 5"
    )
    assert "10000 deviations" in _rule_properties.float64(tried)
    assert "1 attacks, the worst " in _rule_properties.resilience(tried)
