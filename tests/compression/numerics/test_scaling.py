"""Scaling: the whole range of float32, zeros, and what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _scaling

CHUNKS = np.random.default_rng(0).standard_normal((2, 3, 64))
LARGEST = np.abs(CHUNKS).max()


@pytest.mark.parametrize("scale", [1.0, 3.4e38 / LARGEST, 1e-34])
def test_norms_and_units_at_both_ends_of_the_range(scale):
    chunks = jnp.asarray(CHUNKS * scale, jnp.float32)
    largest = np.abs(CHUNKS).max(axis=-1)
    norms = jax.jit(_scaling.max_norms)(chunks)
    np.testing.assert_allclose(norms, largest * scale, rtol=1e-5)
    units = jax.jit(_scaling.in_units)(chunks, norms)
    np.testing.assert_allclose(units, CHUNKS / largest[..., None], rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e37, 1e-34])
def test_squares_neither_overflow_nor_vanish(scale):
    norms = jax.jit(_scaling.l2_norms)(jnp.asarray(CHUNKS * scale, jnp.float32))
    np.testing.assert_allclose(norms, np.linalg.norm(CHUNKS, axis=-1) * scale, 1e-5)


def test_zero_stays_zero():
    zeros = jnp.zeros((2, 4))
    np.testing.assert_array_equal(_scaling.in_units(zeros, jnp.zeros(2)), 0)
    np.testing.assert_array_equal(_scaling.l2_norms(zeros), 0)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("norms", [_scaling.max_norms, _scaling.l2_norms])
def test_norms_of_what_is_not_finite_are_not_finite(norms, bad):
    seen = norms(jnp.ones((2, 4)).at[0, 1].set(bad))
    np.testing.assert_array_equal(jnp.isfinite(seen), [False, True])
