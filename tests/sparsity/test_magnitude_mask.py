"""Magnitude mask: the largest weights of each layer."""

import jax.numpy as jnp
import numpy as np

from jaxdist import sparsity


def test_the_largest_of_each_layer():
    params = {"a": jnp.array([[1.0, -5.0], [jnp.nan, 2.0]]), "b": jnp.ones((2, 2))}
    mask = sparsity.magnitude_mask(params, {"a": 0.5, "b": 0.25})
    np.testing.assert_array_equal(mask["a"], [[False, True], [False, True]])
    np.testing.assert_array_equal(mask["b"], [[True, False], [False, False]])


def test_leaves_without_a_density_are_whole():
    mask = sparsity.magnitude_mask(
        {"a": jnp.ones((2, 2)), "b": jnp.ones(3)}, {"a": 0.0, "b": None}
    )
    assert mask["b"] is None and not mask["a"].any()
