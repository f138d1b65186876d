"""Coordinate shift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


@pytest.mark.parametrize(("coordinate", "scale"), [(0, 5.0), (17, -2.0), (None, 3.0)])
def test_shifts_the_mean(coordinate, scale):
    honest, bad = cases.attacked(jd.attacks.coordinate_shift(scale, coordinate))
    expected = honest.mean(axis=0)
    expected[slice(None) if coordinate is None else coordinate] += scale
    cases.assert_all_send(bad, expected)


@pytest.mark.parametrize("coordinate", [3, None])
def test_the_largest_that_stays_within_the_honest_diameter(coordinate):
    honest, bad = cases.attacked(jd.attacks.coordinate_shift(coordinate=coordinate))
    diameter = max(np.linalg.norm(x - y) for x in honest for y in honest)
    reach = max(np.linalg.norm(bad[0] - x) for x in honest)
    assert 0.998 * diameter < reach <= diameter


def test_one_coordinate_takes_an_error_that_grows_with_the_dimension():
    """And Krum selects it, though no honest coordinate is nearly as far out."""
    for size in (100, 900):
        rows = jax.random.normal(jax.random.key(0), (16, size))
        attack = jd.attacks.coordinate_shift(0.7 * size**0.5)
        chosen = jax.jit(lambda rows, a=attack: jd.rules.krum(3)(a(rows, 3)))(rows)
        assert float(chosen[0]) == pytest.approx(0.7 * size**0.5, abs=1.5)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`scale` must lie in"):
        jd.attacks.coordinate_shift(np.inf)
    with pytest.raises(ValueError, match="`coordinate` must be an integer >= 0"):
        jd.attacks.coordinate_shift(1.0, -1)
    with pytest.raises(ValueError, match=r"`coordinate` must be in \[0, 1\], got 2"):
        jd.attacks.coordinate_shift(1.0, 2)(jnp.ones((3, 2)), 1)
