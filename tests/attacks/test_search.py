"""The search for the shift that harms most, on functions whose shape is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.attacks import _search


def found(damage, num_refinements=10, num_magnitudes=16):
    grid = jnp.asarray(_search.signed_grid(10.0, num_magnitudes), jnp.float32)
    return float(
        jax.jit(lambda grid: _search.worst_shift(damage, grid, num_refinements))(grid)
    )


def test_grid_is_signed_and_has_equal_ratios():
    grid = _search.signed_grid(10.0, 4)
    np.testing.assert_allclose(grid, [-10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10])


@pytest.mark.parametrize("peak", [-7.0, -0.3, 0.02, 1.234])
def test_smooth_peaks(peak):
    assert found(lambda t: jnp.exp(-jnp.abs(t - peak))) == pytest.approx(peak, rel=0.02)


@pytest.mark.parametrize("edge", [-3.3, -0.2, 0.05, 3.9, 6.28])
@pytest.mark.parametrize("beyond", [0.0, 0.9])
def test_edges_where_the_attackers_are_lost_from_sight(edge, beyond):
    """Beyond the edge somebody else is selected, who does nearly as much harm."""

    def damage(t):
        inside = (jnp.sign(t) == np.sign(edge)) & (jnp.abs(t) <= abs(edge))
        return jnp.where(inside, jnp.abs(t), beyond * abs(edge))

    assert found(damage) == pytest.approx(edge, rel=0.01)
    assert abs(found(damage)) <= abs(edge) * (1 + 1e-6)


def test_of_equal_shifts_the_smallest():
    saturated = found(lambda t: jnp.minimum(jnp.abs(t), 0.99), num_refinements=0)
    assert saturated == pytest.approx(1)
    assert found(lambda t: jnp.zeros_like(t)) == 0


def test_refinements_never_harm_less():
    def damage(t):
        return jnp.sin(5 * t) + jnp.cos(3.3 * t)

    values = [float(damage(found(damage, steps))) for steps in (0, 3, 10)]
    assert values == sorted(values)
    assert values[2] > values[0]


def test_two_magnitudes_are_enough():
    assert found(lambda t: 1 / (1 + (t - 3) ** 2), 8, 2) == pytest.approx(3, rel=0.1)
