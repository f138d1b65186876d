"""Geometric median: a minimum, known points, and attackers at every distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles
from tests.rule import golden

RULE = jax.jit(jd.geometric_median())


def test_known_points():
    square = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    np.testing.assert_allclose(RULE(square), [1, 1], rtol=1e-6)
    # Where one angle of a triangle is at least 120 degrees, the corner itself.
    flat = jnp.array([[0.0, 0.0], [1.0, 0.1], [2.0, 0.0]])
    np.testing.assert_allclose(RULE(flat), [1, 0.1], rtol=1e-4)


def test_a_majority_of_copies_wins():
    rows = jnp.array([[1.0, 2.0]] * 4 + [[5.0, 5.0], [7.0, -1e3], [1e8, 0.0]])
    np.testing.assert_allclose(RULE(rows), [1, 2], rtol=1e-6)


def test_one_dimension_is_the_median():
    rows = jnp.array([[3.0], [1.0], [10.0], [2.0], [40.0]])
    np.testing.assert_allclose(RULE(rows), [3.0], rtol=1e-4)


def test_other_implementation():
    got = RULE(golden.ROWS)
    np.testing.assert_allclose(got, golden.GEOMETRIC_MEDIAN, rtol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_it_is_the_minimum(mean):
    rows = (mean + golden.ROWS).astype(np.float64)
    expected = oracles.geometric_median(rows)
    np.testing.assert_allclose(RULE(rows.astype(np.float32)), expected, rtol=2e-5)


@pytest.mark.parametrize("away", [1e2, 1e3, 1e5, 1e8, 1e12, 1e17])
def test_its_constant_holds_at_every_distance(away):
    """Rounded distances must not let those far away pull with more than one vote."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9, 3)).astype(np.float32)
    rows[6:] = away * (1 + rng.standard_normal((3, 3)))
    mean = rows[:6].mean(axis=0)
    error = ((np.asarray(RULE(rows)) - mean) ** 2).sum()
    spread = ((rows[:6] - mean) ** 2).sum() / 6
    assert error <= jd.geometric_median().contract.kappa(9, 3) * spread


def test_one_iteration_is_not_robust():
    rows = jnp.zeros((9, 2)).at[8].set(1000.0).at[:8].add(jnp.arange(8.0)[:, None])
    assert jnp.abs(jd.geometric_median(max_iterations=1)(rows)).max() > 10
    assert jnp.abs(RULE(rows)).max() < 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.0}, r"`tolerance` must lie in \(0, 1\), got 0.0"),
        ({"tolerance": 1.0}, r"`tolerance` must lie in \(0, 1\), got 1.0"),
        ({"max_iterations": 0}, "`max_iterations` must be .* got 0"),
    ],
)
def test_arguments_have_a_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.geometric_median(**arguments)
