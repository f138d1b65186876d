"""Narrow residuals: unbiased, bounded error, exact where they can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression import _stored_residual

KEY = jax.random.key(3)


@pytest.mark.parametrize(("dtype", "nbytes"), [("float32", 4), ("bfloat16", 2)])
def test_bytes_per_element(dtype, nbytes):
    assert (
        _stored_residual.zero_residual(jnp.zeros((5, 7)), dtype).nbytes == 35 * nbytes
    )


def test_int8_has_one_scale_per_row():
    stored = _stored_residual.zero_residual(jnp.zeros((5, 7)), "int8")
    assert (stored.values.shape, stored.values.dtype) == ((5, 7), jnp.int8)
    assert (stored.scale.shape, stored.scale.dtype) == ((5, 1), jnp.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("shape", [(), (6,), (3, 4)])
def test_rounding_is_unbiased_and_within_one_step(dtype, shape):
    residual = jax.random.normal(KEY, shape)
    keys = jax.random.split(KEY, 20_000)

    def once(key):
        return _stored_residual.load_residual(
            _stored_residual.store_residual(residual, dtype, key), jnp.float32
        )

    seen = jax.jit(jax.vmap(once))(keys)
    largest = float(jnp.abs(residual).max())
    step = largest * (2.0**-7 if dtype == "bfloat16" else 1 / 127)
    assert float(jnp.abs(seen - residual[None]).max()) <= step * 1.001
    # A mean of 20 000 draws within one step: 5 standard deviations are below 0.02.
    np.testing.assert_allclose(seen.mean(axis=0), residual, atol=0.02 * step)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_zero_and_what_was_stored_are_kept_exactly(dtype):
    residual = jnp.asarray([[0.0, 0.0], [3.0, -127.0]])
    once = _stored_residual.load_residual(
        _stored_residual.store_residual(residual, dtype, KEY), jnp.float32
    )
    np.testing.assert_array_equal(once, residual)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_large_residuals_stay_finite(dtype):
    stored = _stored_residual.store_residual(jnp.full(1000, 3.38e38), dtype, KEY)
    assert jnp.isfinite(_stored_residual.load_residual(stored, jnp.float32)).all()
