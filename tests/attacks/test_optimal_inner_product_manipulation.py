"""Optimal inner product manipulation; how harmful it is: the file of its sibling."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def test_sends_a_multiple_of_the_mean():
    """A mean without defence moves in proportion: the limit, against the mean."""
    attack = jd.attacks.optimal_inner_product_manipulation(jd.rules.mean(), 3.0)
    honest, bad = cases.attacked(attack)
    cases.assert_all_send(bad, -2 * honest.mean(axis=0), rtol=1e-4)


def test_a_rule_that_never_listens_is_sent_the_honest_mean():
    deaf = jd.AggregationRule("deaf", lambda rows: rows[0])
    attack = jd.attacks.optimal_inner_product_manipulation(deaf, num_refinements=1)
    honest, bad = cases.attacked(attack)
    cases.assert_all_send(bad, honest.mean(axis=0))


def test_rule_is_checked():
    with pytest.raises(TypeError, match="`rule` must be of type AggregationRule"):
        jd.attacks.optimal_inner_product_manipulation(jnp.mean)
    with pytest.raises(ValueError, match=r"`limit` must lie in \(0.0, inf\), got"):
        jd.attacks.optimal_inner_product_manipulation(jd.rules.mean(), np.nan)
