"""What stands before a rule: anchors, memories and ranges pass through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules import _pre_aggregation, _rule


def pairs(geometry, key):
    """Average workers 0 and 1, and 2 and 3."""
    del geometry, key
    return jnp.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])


def to_anchor(geometry, key, memory):
    """Take what is nearest to the last row, and count."""
    del key
    nearest = jnp.argmin(geometry.squared_distances[-1, :-1])
    weights = jnp.arange(geometry.squared_norms.shape[0]) == nearest
    return weights[None].astype(jnp.float32), memory + 1


THEN = jd.AggregationRule(
    "nearest",
    mix=to_anchor,
    anchor="reference",
    init=lambda num_workers: jnp.full((), num_workers),
)
RULE = _pre_aggregation.mix_before(
    THEN, "pairs", pairs, _rule.RuleContract(), lambda n: n // 2
)


def test_an_anchor_is_not_mixed():
    rows = jnp.array([[1.0], [3.0], [10.0], [14.0]])
    np.testing.assert_array_equal(RULE(rows, anchor=jnp.array([7.5])), [12.0])
    np.testing.assert_array_equal(RULE(rows, anchor=jnp.array([6.5])), [2.0])


def test_memory_is_that_of_the_next_rule():
    assert int(RULE.init(4)) == 2
    rows = jnp.array([[1.0], [3.0], [10.0], [14.0], [0.0]])
    _, memory = RULE.mix(jd.rules.Geometry.of(rows), jax.random.key(0), RULE.init(4))
    assert int(memory) == 3


def test_the_mean_of_mixtures_is_one_row():
    rule = _pre_aggregation.mix_before(
        jd.rules.mean(), "pairs", pairs, _rule.RuleContract()
    )
    geometry = jd.rules.Geometry.of(jnp.array([[1.0], [3.0], [10.0], [14.0]]))
    weights, _ = rule.mix(geometry, jax.random.key(0), ())
    np.testing.assert_array_equal(weights, [[0.25, 0.25, 0.25, 0.25]])


def test_the_next_rule_needs_enough_mixtures():
    rule = _pre_aggregation.mix_before(
        jd.rules.krum(1), "pairs", pairs, _rule.RuleContract(), lambda n: 2
    )
    with pytest.raises(ValueError, match=r"krum\(1\).* more workers than the 2"):
        rule(jnp.ones((4, 2)))
