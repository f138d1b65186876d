"""Multi-Krum: the published example, one shot and iterated, its constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles
from tests.rules import golden

POINTS = jnp.array(
    [[1, 2], [2, 2], [1, 1], [2, 1], [1.5, 1.5], [10, 10], [-8, 9]], jnp.float32
)


def test_published_example():
    """The five that are near each other, and neither of those far away."""
    np.testing.assert_allclose(
        jax.jit(jd.rules.multi_krum(2))(POINTS), [1.5, 1.5], rtol=1e-6
    )


def test_ties_go_to_the_lowest_index():
    rows = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])[
        jnp.array([0, 1, 0, 1, 0, 1])
    ]
    weights, _ = jd.rules.multi_krum(1, 2).mix(jd.rules.Geometry.of(rows), None, ())
    np.testing.assert_array_equal(weights, [[0.5, 0.5, 0, 0, 0, 0]])


@pytest.mark.parametrize("iterated", [False, True])
def test_one_is_krum(iterated):
    got = jax.jit(jd.rules.multi_krum(3, 1, iterated))(golden.ROWS)
    np.testing.assert_allclose(got, golden.KRUM, rtol=1e-5, atol=1e-6)


def test_other_implementation():
    got = jax.jit(jd.rules.multi_krum(3, neighbours="byzfl"))(golden.ROWS)
    np.testing.assert_allclose(got, golden.WITHOUT_THE_LAST, rtol=1e-5)


def test_all_is_the_mean():
    got = jax.jit(jd.rules.multi_krum(0))(golden.ROWS)
    np.testing.assert_allclose(got, golden.MEAN, rtol=1e-5)


def test_iterated_measures_again_after_every_choice():
    rows = np.random.default_rng(0).standard_normal((13, 2))
    once = jd.rules.multi_krum(2, 7)
    expected = oracles.iterated_krum(2, 7)(rows)
    rows = rows.astype(np.float32)
    got = jax.jit(jd.rules.multi_krum(2, iterated=True))(rows)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(jax.jit(once)(rows) - expected).max() > 1e-3


def test_its_constant_holds_under_collusion():
    """Two copies of one attacker beside the honest, at any distance."""
    rule = jd.rules.multi_krum(2, 5)
    fast = jax.jit(rule)
    rng = np.random.default_rng(0)
    for distance in np.geomspace(0.1, 100, 10):
        rows = rng.standard_normal((9, 3)).astype(np.float32)
        rows[7:] = distance * rng.standard_normal(3)
        mean = rows[:7].mean(axis=0)
        spread = ((rows[:7] - mean) ** 2).sum() / 7
        error = ((np.asarray(fast(rows)) - mean) ** 2).sum()
        assert error <= rule.contract.robustness(9, 2) * spread


@pytest.mark.parametrize(("iterated", "most"), [(False, 7), (True, 3)])
def test_the_number_selected_has_a_range(iterated, most):
    rows = jnp.arange(18.0).reshape(9, 2)
    jax.jit(jd.rules.multi_krum(2, most, iterated))(rows)
    with pytest.raises(ValueError, match=rf"`num_selected` must be in \[1, {most}\]"):
        jd.rules.multi_krum(2, most + 1, iterated)(rows)
    with pytest.raises(ValueError, match="`num_selected` must be .* got 0"):
        jd.rules.multi_krum(2, 0, iterated)
