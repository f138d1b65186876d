"""Spectral filter: who is removed, how far from the honest mean it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

SIZE, NUM_WORKERS, NUM_BYZANTINE = 50, 100, 20


def attacked(shift, seed=0):
    """Return rows, of which the last are shifted together, and the honest mean."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((NUM_WORKERS, SIZE))
    rows[-NUM_BYZANTINE:] = 0.1 * rows[-NUM_BYZANTINE:] + shift / np.sqrt(SIZE)
    return rows.astype(np.float32), rows[:-NUM_BYZANTINE].mean(axis=0)


# In the worst of 50 directions, 80 honest workers have 1.7 times their deviation of 1.
LOOSE = jax.jit(jd.rules.spectral_filter(NUM_BYZANTINE, 1.7))
TIGHT = jax.jit(jd.rules.spectral_filter(NUM_BYZANTINE, 1.7, tight=True))


@pytest.mark.parametrize("shift", [10.0, 35.0, 1e6])
def test_removes_all_attackers_and_nobody_else(shift):
    rows, honest = attacked(shift)
    np.testing.assert_allclose(LOOSE(rows), honest, rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(TIGHT(rows) - honest) < 0.4


def test_tight_removes_what_the_other_does_not_see():
    """At this distance four times the variance is not exceeded."""
    rows, honest = attacked(7.0)
    np.testing.assert_allclose(LOOSE(rows), rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(LOOSE(rows) - honest) > 1.2
    assert np.linalg.norm(TIGHT(rows) - honest) < 0.4


@pytest.mark.parametrize("tight", [False, True])
def test_never_removes_more_than_twice_as_many(tight):
    """Also if the deviation is far too small."""
    rows = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    weights, _ = jd.rules.spectral_filter(3, 1e-3, tight).mix(
        jd.rules.Geometry.of(jnp.asarray(rows)), None, ()
    )
    assert jnp.sum(weights / jnp.max(weights)) > 12 - 2 * 3
    with_nobody = jax.jit(jd.rules.spectral_filter(0, 1e-3, tight))(rows)
    np.testing.assert_allclose(with_nobody, rows.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_those_who_tie_do_not_all_go():
    rows = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
    for tight in (False, True):
        np.testing.assert_allclose(
            jax.jit(jd.rules.spectral_filter(1, 0.1, tight))(rows), [0.0]
        )


def test_the_deviation_is_positive():
    with pytest.raises(ValueError, match=r"`deviation` must lie in \(0, inf\), got 0"):
        jd.rules.spectral_filter(1, 0.0)
