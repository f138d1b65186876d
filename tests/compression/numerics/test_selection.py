"""Selection: exactly the largest, whatever the dtype and however many are equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _selection

RNG = np.random.default_rng(0)
LEAVES = {
    "normal": RNG.standard_normal((3, 1000)),
    "ties": RNG.integers(-3, 4, (3, 1000)).astype(float),
    "zeros": np.zeros((3, 1000)),
    "few": RNG.standard_normal((3, 1000)) * (RNG.random((3, 1000)) < 0.005),
    "ascending": np.arange(3000.0).reshape(3, 1000),
    "one run": np.where(np.arange(1000) // 16 == 7, 5.0, 1.0) * np.ones((3, 1)),
    "infinite": np.where(RNG.random((3, 1000)) < 0.01, -np.inf, 1.0),
    "tiny": 1e-40 * RNG.standard_normal((3, 1000)),
}

# One program for all kinds.
LARGEST = jax.jit(_selection.largest_elements, static_argnums=1)


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("kept", [1, 10, 31, 32, 500, 1000])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_is_what_a_stable_sort_finds(kind, kept, dtype):
    chunks = jnp.asarray(LEAVES[kind], jnp.float32).astype(dtype)
    exact = np.abs(np.asarray(chunks).astype(np.float64))
    order = np.argsort(-exact, axis=1, kind="stable")[:, :kept]
    seen = LARGEST(chunks, kept)
    np.testing.assert_array_equal(seen, np.sort(order, axis=1))


def test_nan_is_the_largest_and_the_first_of_several_is_kept():
    chunks = np.arange(100, dtype=np.float32)
    chunks[[3, 50]] = np.nan, np.inf
    np.testing.assert_array_equal(LARGEST(chunks, 1), [3])
    np.testing.assert_array_equal(LARGEST(chunks, 2), [3, 50])
    chunks[[9, 60]] = -np.nan, np.nan
    np.testing.assert_array_equal(LARGEST(chunks, 2), [3, 9])


def test_sixty_four_bits():
    with jax.enable_x64(True):
        chunks = jnp.asarray([1.0, 1.0 + 1e-12, -2.0, 1.0 + 2e-12], jnp.float64)
        np.testing.assert_array_equal(LARGEST(chunks, 2), [2, 3])
