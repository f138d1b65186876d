"""How far attackers may go: the constraint holds, and is used up."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.attacks import _moments, _spread

DIRECTIONS = pytest.mark.parametrize("name", _spread.DIRECTIONS)


def rows_around(mean, scale, size=500, seed=0):
    rng = np.random.default_rng(seed)
    return (mean + scale * rng.standard_normal((7, size))).astype(np.float32)


def squared_distances(rows, others):
    return np.sum((rows[:, None] - others[None]) ** 2, axis=-1)


@DIRECTIONS
@pytest.mark.parametrize(("mean", "scale"), [(0.3, 1.0), (100.0, 0.01), (0.0, 1e-6)])
def test_constraints_hold_for_what_is_sent_and_are_used_up(name, mean, scale):
    rows = jnp.array(rows_around(mean, scale))
    direction = _spread.shift_direction(rows, name)
    exact = np.asarray(rows, np.float64)
    among = squared_distances(exact, exact)

    def from_all(shift):
        sent = _moments.mean_row(rows) + shift * direction
        return squared_distances(exact, np.asarray(sent, np.float64)[None])[:, 0]

    reached = from_all(_spread.farthest_shift(rows, direction)).max()
    assert 0.998 * among.max() < reached <= among.max()
    for budget, allowed in (("max", max), ("min", min)):
        reached = from_all(_spread.farthest_in_sum(rows, direction, budget)).sum()
        limit = allowed(among.sum(axis=1))
        assert 0.998 * limit < reached <= limit


@DIRECTIONS
def test_workers_that_agree_leave_no_room(name):
    rows = jnp.ones((4, 3))
    direction = _spread.shift_direction(rows, name)
    assert float(_spread.farthest_shift(rows, direction)) == 0
    assert float(_spread.farthest_in_sum(rows, direction, "max")) == 0


def test_no_direction_no_shift():
    rows = jnp.array([[1.0], [-1.0]])
    zero = jnp.zeros(1)
    np.testing.assert_array_equal(_spread.shift_direction(rows, "mean"), zero)
    assert float(_spread.farthest_shift(rows, zero)) == 0
    assert float(_spread.farthest_in_sum(rows, zero, "max")) == 0


def test_directions_lead_against_the_mean():
    rows = rows_around(0.3, 1.0).astype(np.float64)
    mean = rows.mean(axis=0)
    expected = {
        "mean": -mean / np.linalg.norm(mean),
        "sign": -np.sign(mean),
        "deviation": -rows.std(axis=0),
    }
    for name, direction in expected.items():
        actual = _spread.shift_direction(jnp.array(rows, jnp.float32), name)
        np.testing.assert_allclose(actual, direction, rtol=1e-4, atol=1e-6)
