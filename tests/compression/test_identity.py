"""Identity sends every bit."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd


def test_every_bit_comes_back():
    leaf = jnp.array([0.0, -0.0, jnp.nan, jnp.inf, 1e-45, 3.0])
    seen, state = jd.roundtrip(jd.identity(), leaf)
    np.testing.assert_array_equal(
        np.asarray(seen).view(np.uint32), np.asarray(leaf).view(np.uint32)
    )
    assert state == ()
