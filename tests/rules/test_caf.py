"""CAF: ends whatever it is sent, and needs no variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contract import oracles
from tests.rules import golden

RULE = jax.jit(jd.rules.caf(3))
HONEST = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)


@pytest.mark.parametrize("away", [1e3, 1e5, 1e7, 1e12, 1e17, 1e18, 1e30, np.inf])
@pytest.mark.parametrize("together", [True, False])
def test_outliers_of_any_size_are_left_out(away, together):
    rng = np.random.default_rng(1)
    far = away * (np.ones((3, 5)) if together else rng.standard_normal((3, 5)))
    rows = np.concatenate([HONEST, far]).astype(np.float32)
    got = RULE(rows)
    mean = HONEST.mean(axis=0)
    spread = ((HONEST - mean) ** 2).sum() / 8
    assert ((np.asarray(got) - mean) ** 2).sum() < spread


@pytest.mark.parametrize("away", [10.0, 1e3, 1e4])
def test_rounding_does_not_end_it_early(away):
    """A maximum may be rounded otherwise than the blame it is taken of."""
    rule, oracle = jax.jit(jd.rules.caf(2)), oracles.caf(2)
    for seed in range(20):
        rows = 0.5 + np.random.default_rng(seed).standard_normal((9, 61))
        rows[7:] *= away
        expected = oracle(rows)
        found = np.asarray(jax.jit(rule)(rows.astype(np.float32)))
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_written_in_full():
    expected = oracles.caf(3)(golden.ROWS.astype(np.float64))
    np.testing.assert_allclose(RULE(golden.ROWS), expected, rtol=1e-5)


def test_not_finite_or_identical():
    rows = np.concatenate([HONEST, [[np.nan] * 5, [np.inf] * 5, [-np.inf] * 5]])
    assert np.isfinite(RULE(rows.astype(np.float32))).all()
    np.testing.assert_allclose(RULE(np.ones((11, 5), np.float32)), 1, rtol=1e-6)


def test_without_attackers_it_is_the_mean():
    np.testing.assert_allclose(
        jax.jit(jd.rules.caf(0))(golden.ROWS), golden.MEAN, rtol=1e-5
    )


def test_the_same_every_time():
    np.testing.assert_array_equal(RULE(golden.ROWS), RULE(golden.ROWS))


def test_attackers_who_are_to_blame_alike_do_not_empty_it():
    rows = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
    np.testing.assert_allclose(jax.jit(jd.rules.caf(1))(rows), [0.0])
