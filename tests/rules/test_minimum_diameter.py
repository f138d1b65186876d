"""Minimum diameter: ties, its constant, and what defeats the mean."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from tests.contract import oracles
from tests.rules import golden


def test_other_implementation():
    got = jax.jit(jd.rules.minimum_diameter(3))(golden.ROWS)
    np.testing.assert_allclose(got, golden.WITHOUT_THE_LAST, rtol=1e-5)


def test_ties_go_to_the_first_subset():
    rows = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.minimum_diameter(1))(rows), [1.0])


def test_one_worker_has_no_diameter():
    np.testing.assert_array_equal(
        jax.jit(jd.rules.minimum_diameter(0))(jnp.ones((1, 2))), [1, 1]
    )


def test_error_is_a_share_of_the_honest_diameter():
    rule, fast = jd.rules.minimum_diameter(2), jax.jit(jd.rules.minimum_diameter(2))
    rng = np.random.default_rng(0)
    for distance in np.geomspace(0.1, 1000, 20):
        rows = rng.standard_normal((9, 3)).astype(np.float32)
        rows[7:] = distance * rng.standard_normal(3)
        mean = rows[:7].mean(axis=0)
        error = ((np.asarray(fast(rows)) - mean) ** 2).sum()
        diameter = oracles.squared_distances(rows[:7]).max()
        assert error <= (2 * 2 / 7) ** 2 * diameter
        spread = ((rows[:7] - mean) ** 2).sum() / 7
        assert error <= rule.contract.robustness(9, 2) * spread
