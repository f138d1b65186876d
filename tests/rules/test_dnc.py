"""Divide and conquer: who is removed, and what its scores are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def crowd(num_liars, shift, size=200):
    """Return 16 rows of which the last few are shifted together."""
    rows = np.random.default_rng(0).standard_normal((16, size)).astype(np.float32)
    rows[16 - num_liars :] += shift * np.ones(size, np.float32) / np.sqrt(size)
    return rows


@pytest.mark.parametrize("shift", [40.0, 1e4])
def test_those_who_are_shifted_together_are_removed(shift):
    rows = crowd(4, shift)
    np.testing.assert_allclose(
        jax.jit(jd.rules.dnc(4))(rows), rows[:12].mean(axis=0), rtol=1e-4, atol=1e-6
    )


def test_more_can_be_removed_than_lie():
    rows = crowd(2, 40.0)
    weights, _ = jd.rules.dnc(2, num_removed=4).mix(
        jd.rules.Geometry.of(rows), None, ()
    )
    assert jd.rules.dnc(2, 4).contract.tolerated(16) == 2
    np.testing.assert_allclose(np.sort(weights[0])[3:5], [0, 1 / 12], rtol=1e-6)
    np.testing.assert_array_equal(weights[0, 14:], 0)


def test_removing_nobody_is_the_mean():
    rows = crowd(0, 0.0)
    np.testing.assert_allclose(
        jax.jit(jd.rules.dnc(0))(rows), rows.mean(axis=0), rtol=1e-4, atol=1e-6
    )


def test_who_is_not_finite_is_removed_first():
    rows = crowd(2, 40.0)
    rows[3] = np.nan
    honest = np.delete(rows, [3, 14, 15], axis=0)
    np.testing.assert_allclose(
        jax.jit(jd.rules.dnc(3))(rows), honest.mean(axis=0), rtol=1e-4, atol=1e-6
    )


def test_somebody_is_left():
    with pytest.raises(ValueError, match=r"`num_removed` must lie in \[1, 4\].* 5"):
        jd.rules.dnc(1, 5)(jnp.ones((5, 2)))
    with pytest.raises(ValueError, match="`num_removed` must be .* got 1"):
        jd.rules.dnc(2, 1)
