"""Sign flip, in its three scalings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def test_flips_and_scales():
    sent = jax.jit(jd.attacks.sign_flip(3.0), static_argnums=1)(
        jnp.array([[1.0, -2.0], [1.0, -2.0]]), 1
    )
    np.testing.assert_array_equal(sent, [[1, -2], [-3, 6]])


def test_of_the_honest_mean():
    honest, bad = cases.attacked(jd.attacks.sign_flip(3.0, of="mean"))
    cases.assert_all_send(bad, -3 * honest.mean(axis=0))


def test_of_the_sum_cancels_the_mean_but_no_robust_rule():
    honest, bad = cases.attacked(jd.attacks.sign_flip(of="sum"))
    cases.assert_all_send(bad, -honest.mean(axis=0) * 7 / 2)
    sent = jax.jit(jd.attacks.sign_flip(of="sum"), static_argnums=1)(
        jnp.ones((8, 3)), 2
    )
    np.testing.assert_allclose(jax.jit(jd.rules.mean())(sent), 0, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jd.rules.trimmed_mean(2))(sent), 1)


def test_alone_all_workers_may_attack():
    np.testing.assert_array_equal(
        jax.jit(jd.attacks.sign_flip(), static_argnums=1)(jnp.ones((2, 1)), 2), -1
    )


@pytest.mark.parametrize("scale", [0, -1.0])
def test_scale_is_positive(scale):
    with pytest.raises(ValueError, match=r"`scale` must lie in \(0.0, inf\), got"):
        jd.attacks.sign_flip(scale)


def test_what_is_flipped_is_known():
    with pytest.raises(ValueError, match="`of` must be one of 'own', 'mean', 'sum'"):
        jd.attacks.sign_flip(of="median")
