"""Geometric median: a minimum, known points, and attackers at every distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles
from tests.rules import golden

RULE = jax.jit(jd.rules.geometric_median())


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
    assert error <= jd.rules.geometric_median().contract.robustness(9, 3) * spread


@pytest.mark.parametrize(("num_workers", "f"), [(3, 1), (11, 2), (37, 18), (101, 50)])
@pytest.mark.parametrize("away", [10.0, 2751.0, 1e6])
def test_attackers_as_far_as_they_are_listened_to(num_workers, f, away):
    """Honest workers in two places, attackers in one that is just near enough."""
    rule, num_honest = RULE, num_workers - f
    for others in {1, num_honest // 2, (num_honest - 1) // 2}:
        rows = np.zeros((num_workers, 2), np.float32)
        rows[num_honest - others : num_honest, 1] = 1
        rows[num_honest:, 0] = away
        mean = rows[:num_honest].mean(axis=0)
        spread = ((rows[:num_honest] - mean) ** 2).sum(axis=1).mean()
        error = ((np.asarray(jax.jit(rule)(rows)) - mean) ** 2).sum()
        bound = jd.rules.geometric_median().contract.robustness(num_workers, f)
        assert error <= (1 + 1e-4) * bound * spread


def test_a_worker_that_is_the_minimum_is_found_at_once():
    rows = jnp.array([[0.0, 0.0]] * 10 + [[0.0, 1.0]] * 9)
    got = jax.jit(jd.rules.geometric_median(max_iterations=1))(rows)
    np.testing.assert_array_equal(got, [0, 0])


def test_workers_that_look_like_copies_are_none():
    """Far from the centre of a geometry near ones cannot be told from copies."""
    low = [0.0] * 6 + [0.00092, 0.0062, 0.0116, 0.1258, 0.2268]
    high = 2.732 + 1e-3 * np.random.default_rng(0).standard_normal(10)
    rows = jnp.asarray([*low, *high], jnp.float32)[:, None]
    np.testing.assert_allclose(RULE(rows), [0.2268], rtol=1e-3)


def test_one_iteration_promises_nothing():
    """It has not arrived, and nobody knows how far it still is."""
    rows = jnp.array([[0.0, 0.0], [0.0, 1.0], [2751.0, 0.0]])
    hasty = jd.rules.geometric_median(max_iterations=1)
    assert jnp.abs(hasty(rows) - RULE(rows)).max() > 0.03
    assert hasty.contract.robustness(3, 1) == np.inf


def test_a_coarse_tolerance_costs_robustness():
    fine, coarse = (
        jd.rules.geometric_median(tolerance=tolerance).contract.robustness(3, 1)
        for tolerance in (1e-6, 0.9)
    )
    np.testing.assert_allclose([fine, coarse], [4 / 0.5, 16 * 0.9**2])


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
        jd.rules.geometric_median(**arguments)
