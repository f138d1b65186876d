"""Random mask: exact counts, other places with another key, all equally often."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import sparsity

PARAMS = {"a": jnp.ones((4, 5)), "b": jnp.ones((4, 5)), "bias": jnp.ones(3)}
DENSITIES = {"a": 0.3, "b": 0.3, "bias": None}


def test_counts_are_exact_and_places_depend_on_key_and_name():
    first, again, other = (
        sparsity.random_mask(PARAMS, DENSITIES, key) for key in (0, 0, 1)
    )
    assert first["bias"] is None
    assert first["a"].shape == (4, 5) and int(first["a"].sum()) == 6
    np.testing.assert_array_equal(first["a"], again["a"])
    assert (first["a"] != other["a"]).any() and (first["a"] != first["b"]).any()


def test_every_weight_is_kept_equally_often():
    """Of 2000 masks 600 keep a weight, give or take 20.5: within five of those."""

    def draw(key):
        return sparsity.random_mask(PARAMS["a"], 0.3, key)

    masks = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 2000))
    assert np.abs(np.asarray(masks).sum(axis=0) - 600).max() < 103
