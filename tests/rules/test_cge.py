"""CGE: the shortest, which a patient attacker is, too."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd


def test_ties_go_to_the_lowest_index():
    rows = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [2.0, 0.0]])
    np.testing.assert_allclose(
        jax.jit(jd.rules.cge(2))(rows[jnp.array([0, 1, 2, 3, 3])]), [1 / 3, 0]
    )


def test_no_constant_holds():
    """All honest send nearly the same; attackers send nothing, and are short."""
    rows = 10 + 1e-3 * np.random.default_rng(0).standard_normal((9, 4))
    rows[7:] = 0
    mean = rows[:7].mean(axis=0)
    spread = ((rows[:7] - mean) ** 2).sum() / 7
    rule = jd.rules.cge(2)
    error = ((np.asarray(jax.jit(rule)(rows.astype(np.float32))) - mean) ** 2).sum()
    assert error > 1e5 * spread
    assert rule.contract.robustness(9, 2) == np.inf
