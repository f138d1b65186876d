"""Inner product manipulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def test_opposite_of_the_honest_mean():
    honest, bad = cases.attacked(jd.attacks.inner_product_manipulation(0.3))
    cases.assert_all_send(bad, -0.3 * honest.mean(axis=0))


def test_the_mean_changes_its_sign_beyond_honest_over_byzantine():
    rows = jnp.ones((9, 4))
    for scale, sign in ((3.4, 1), (3.6, -1)):
        sent = jax.jit(jd.attacks.inner_product_manipulation(scale), static_argnums=1)(
            rows, 2
        )
        np.testing.assert_array_equal(jnp.sign(jax.jit(jd.rules.mean())(sent)), sign)


@pytest.mark.parametrize("scale", [0, -1.0])
def test_scale_is_positive(scale):
    with pytest.raises(ValueError, match=r"`scale` must lie in \(0.0, inf\), got"):
        jd.attacks.inner_product_manipulation(scale)
