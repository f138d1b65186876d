"""Gaussian noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_moments_and_independence():
    rows = {"a": jnp.ones((3, 50_000)), "b": jnp.ones((3, 50_000))}
    sent = jax.jit(jd.attacks.gaussian(5.0), static_argnums=1)(rows, 2)
    noise = np.stack([sent["a"][1], sent["a"][2], sent["b"][1], sent["b"][2]])
    np.testing.assert_allclose(noise.mean(axis=1), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(noise) / 25, np.eye(4), atol=0.03)
    np.testing.assert_array_equal(sent["a"][0], 1)


def test_drawn_again_at_every_step():
    tx = jd.inject_attack("w", jd.attacks.gaussian(), 1)

    def worker(row):
        state = tx.init(row)
        first, state = tx.update(row, state)
        return first, tx.update(row, state)[0]

    first, second = jax.jit(jax.vmap(worker, axis_name="w"))(jnp.ones((2, 4)))
    assert bool(jnp.all(first[1] != second[1]))


@pytest.mark.parametrize("scale", [0, -1.0])
def test_scale_is_positive(scale):
    with pytest.raises(ValueError, match=r"`scale` must lie in \(0.0, inf\), got"):
        jd.attacks.gaussian(scale)
