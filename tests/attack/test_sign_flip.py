"""Sign flip."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_flips_and_scales():
    sent = jd.sign_flip(3.0)(jnp.array([[1.0, -2.0], [1.0, -2.0]]), 1)
    np.testing.assert_array_equal(sent, [[1, -2], [-3, 6]])


def test_scaled_by_honest_over_byzantine_it_cancels_the_mean():
    rows = jnp.ones((8, 3))
    sent = jd.sign_flip(6 / 2)(rows, 2)
    np.testing.assert_allclose(jd.mean()(sent), 0, atol=1e-6)
    np.testing.assert_allclose(jd.trimmed_mean(2)(sent), 1)


@pytest.mark.parametrize("scale", [0, -1.0])
def test_scale_is_positive(scale):
    with pytest.raises(ValueError, match=r"`scale` must lie in \(0.0, inf\), got"):
        jd.sign_flip(scale)
