"""Group soft threshold: lengths, exact zeros, and what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import contrib


def test_rows_become_shorter_by_the_threshold():
    rows = np.random.default_rng(0).normal(size=(3, 20, 4)).astype(np.float32)
    found = contrib.group_soft_threshold(rows, 1.5)
    lengths, shorter = np.linalg.norm(rows, axis=-1), np.linalg.norm(found, axis=-1)
    np.testing.assert_allclose(shorter, np.maximum(lengths - 1.5, 0), atol=1e-6)
    turned = np.sum(rows * found, axis=-1)
    np.testing.assert_allclose(turned, lengths * shorter, rtol=1e-5, atol=1e-6)
    assert np.all(np.asarray(found)[lengths <= 1.5] == 0) and np.any(lengths <= 1.5)


def test_zeros_stay_and_do_not_spoil_derivatives():
    rows = jnp.array([[0.0, 0.0], [3.0, 4.0]], jnp.bfloat16)
    for threshold in (0.0, 1.0):
        found = contrib.group_soft_threshold(rows, threshold)
        assert found.dtype == jnp.bfloat16 and not found[0].any()
    slope = jax.grad(lambda x: jnp.sum(contrib.group_soft_threshold(x, 1.0)))
    assert np.isfinite(slope(jnp.array([[0.0, 0.0], [3.0, 4.0]]))).all()


def test_what_is_not_finite_is_not_hidden():
    found = contrib.group_soft_threshold(jnp.array([[jnp.nan, 1.0], [3.0, 4.0]]), 1.0)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()
