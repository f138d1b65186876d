"""Uniform densities: the same share everywhere, in whole elements."""

import jax.numpy as jnp
import pytest

from jaxdist import sparsity


def test_whole_elements_and_at_least_one():
    params = {"a": jnp.ones((5, 5)), "b": jnp.ones((2, 2)), "bias": jnp.ones(9)}
    found = sparsity.uniform_densities(params, 0.1)
    assert found == {"a": 2 / 25, "b": 1 / 4, "bias": None}


def test_something_must_be_pruned():
    with pytest.raises(ValueError, match=r"`params` must have .* 2 axes .* \['bias'\]"):
        sparsity.uniform_densities({"bias": jnp.ones(9)}, 0.5)
    assert sparsity.uniform_densities(jnp.ones(8), 0.5, min_ndim=1) == 0.5
