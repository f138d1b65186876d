"""Bulyan: measured again after every choice, and near the median of each coordinate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules import _bulyan
from tests.contract import oracles


@pytest.mark.parametrize(("num_workers", "num_byzantine"), [(11, 2), (15, 3), (16, 3)])
def test_measures_again_after_every_choice(num_workers, num_byzantine):
    rows = np.random.default_rng(0).standard_normal((num_workers, 40))
    got = jax.jit(jd.rules.bulyan(num_byzantine))(rows.astype(np.float32))
    expected = oracles.bulyan(num_byzantine)(rows)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_without_attackers_it_is_the_mean():
    rows = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        jax.jit(jd.rules.bulyan(0))(rows), rows.mean(axis=0), rtol=1e-5
    )


def test_values_that_are_equally_near_go_to_the_smaller():
    rows = jnp.array([[5.0], [1.0], [4.0], [2.0]])
    # The median is 3: of 1, 2, 4, 5 the nearest two are 2 and 4, the nearest three
    # have 1 or 5 besides.
    np.testing.assert_allclose(_bulyan._mean_around_the_median(rows, 2), [3.0])
    np.testing.assert_allclose(_bulyan._mean_around_the_median(rows, 1), [7 / 3])


def test_one_coordinate_cannot_hide_behind_many():
    """Every attacker is nearer than the honest, but for one coordinate."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((15, 1000)).astype(np.float32)
    rows[12:] = rows[:12].mean(axis=0)
    rows[12:, 7] += 10
    assert np.abs(jax.jit(jd.rules.krum(3))(rows)[7]) > 5
    assert np.abs(jax.jit(jd.rules.bulyan(3))(rows)[7]) < 2
