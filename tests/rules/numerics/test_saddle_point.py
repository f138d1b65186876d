"""The saddle point: its value where it is known, and what a filter makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from jaxdist.rules.numerics import _saddle_point, _spectrum

_into_simplex = jax.jit(_saddle_point._into_simplex)
NUM_HONEST, NUM_BYZANTINE, SIZE = 32, 8, 10


def measure(rows, counts, most):
    geometry = jd.rules.Geometry.of(jnp.asarray(rows, jnp.float32))
    counts = jnp.asarray(counts, jnp.float32)
    found = jax.jit(lambda g, c: _saddle_point.measure_saddle_point(g, c, most))(
        geometry, counts
    )
    return float(found.variance * counts.sum()), np.asarray(found.blame)


def test_on_a_line_workers_are_predicted_up_to_the_ends_of_mixtures():
    """There is one direction only, and no mixture is beyond the 2.5 outermost."""
    places = np.array([-7.0, -1.0, 0.0, 0.5, 1.0, 9.0])
    low, high = 0.4 * -7 - 0.4 * 1, 0.4 * 9 + 0.4 * 1 + 0.2 * 0.5
    errors = np.maximum(0, np.maximum(low - places, places - high)) ** 2
    value, blame = measure(places[:, None], np.ones(6), 0.4)
    assert value == pytest.approx(errors.sum(), rel=1e-3)
    np.testing.assert_allclose(blame, errors / errors.max(), atol=1e-3)


@pytest.mark.parametrize("num_workers, size", [(9, 50), (12, 3), (16, 30)])
def test_no_mixtures_leave_less_over(num_workers, size):
    """A slow and simple play between mixtures and directions ends at the same value."""
    most = 2 / num_workers
    rows = np.random.default_rng(size).standard_normal((num_workers, size))
    mixtures = np.full((num_workers, num_workers), 1 / num_workers)
    total, num_rounds = np.zeros_like(mixtures), 2000
    for turn in range(num_rounds):
        left = rows - mixtures.T @ rows
        direction = np.linalg.svd(left)[2][0]
        slope = -np.outer(rows @ direction, left @ direction)
        total += mixtures
        step = slope / np.linalg.norm(slope) / np.sqrt(turn + 1)
        moved = jnp.asarray(mixtures - step, jnp.float32)
        mixtures = np.asarray(_into_simplex(moved, jnp.full(num_workers, most)))
    left = rows - total.T @ rows / num_rounds
    value, _ = measure(rows, np.ones(num_workers), most)
    not_below = np.linalg.norm(left, 2) ** 2  # what any mixtures leave over
    assert 0.995 * not_below < value < 1.001 * not_below


def test_who_does_not_count_is_not_seen():
    rows = np.random.default_rng(0).standard_normal((9, 4))
    value, blame = measure(rows[:6], np.ones(6), 0.4)
    rows[7] = np.nan
    same, with_others = measure(rows, [1] * 6 + [0] * 3, 0.4)
    assert same == pytest.approx(value, rel=1e-3)
    np.testing.assert_allclose(with_others[:6], blame, rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(with_others[6:], 0)


def test_workers_that_are_alike_leave_nothing():
    value, blame = measure(np.ones((5, 3)), np.ones(5), 0.3)
    assert value == 0
    np.testing.assert_array_equal(blame, 0)


def attacked(shift, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((NUM_HONEST + NUM_BYZANTINE, SIZE))
    rows[NUM_HONEST:] = 0.1 * rows[NUM_HONEST:] + shift / np.sqrt(SIZE)
    return rows.astype(np.float32)


def test_removes_all_attackers_and_nobody_else():
    rule = jax.jit(jd.rules.spectral_filter(NUM_BYZANTINE, 1.0, saddle_point=True))
    for seed, shift in enumerate([12.0, 30.0, 1e4]):
        rows = attacked(shift, seed)
        honest = rows[:NUM_HONEST].mean(axis=0)
        np.testing.assert_allclose(rule(rows), honest, rtol=1e-4, atol=1e-5)
    near = attacked(4.0, 0)  # the threshold is four times the variance
    np.testing.assert_allclose(rule(near), near.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_honest_workers_are_not_blamed_for_a_mean_that_attackers_moved():
    rows, everyone = attacked(30.0, 0), np.ones(NUM_HONEST + NUM_BYZANTINE)
    blame = measure(rows, everyone, 1 / 28)[1]
    assert blame[NUM_HONEST:].min() > 0.9
    assert blame[:NUM_HONEST].mean() < 0.02
    geometry = jd.rules.Geometry.of(jnp.asarray(rows))
    beside_the_mean = _spectrum.measure_spectrum(geometry, jnp.asarray(everyone)).blame
    assert beside_the_mean[:NUM_HONEST].mean() > 0.05


def test_keeps_its_promises():
    testing.check_rule(jd.rules.spectral_filter(2, 1.0, saddle_point=True))
