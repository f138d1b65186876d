"""Minimum variance: ties, and a constant that is nearly reached."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd


def test_ties_go_to_the_first_subset():
    rows = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.minimum_variance(1))(rows), [1.0])


def test_far_attackers_do_not_blur_the_others():
    rows = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    rows[7:] = [[1e18], [-3e18]]
    rule = jd.rules.minimum_variance(2)
    np.testing.assert_allclose(jax.jit(rule)(rows), rows[:7].mean(axis=0), rtol=1e-4)


def test_its_constant_holds_and_is_nearly_reached():
    """Attackers mirror as many of the honest: either side may be the outliers."""
    rule, fast = jd.rules.minimum_variance(2), jax.jit(jd.rules.minimum_variance(2))
    ratios = []
    for away in np.linspace(0.9, 1.1, 21):
        rows = np.zeros((11, 1), np.float32)
        rows[:2], rows[9:] = 1, -away
        mean = rows[:9].mean(axis=0)
        spread = ((rows[:9] - mean) ** 2).sum() / 9
        ratios.append(((np.asarray(fast(rows)) - mean) ** 2).sum() / spread)
    kappa = rule.contract.robustness(11, 2)
    assert 0.9 * kappa < max(ratios) <= kappa * (1 + 1e-5)
