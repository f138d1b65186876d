"""Layers: densities say exactly how many elements are kept."""

import jax.numpy as jnp
import pytest

from jaxdist.sparsity import _layers


def test_densities_keep_their_counts():
    """Also where the share is no number of float32, or of float64."""
    params = [jnp.zeros((size, 1)) for size in (3, 7, 49, 1000)]
    sizes = _layers.sizes_of_layers(params, 2)
    for count in (1, 2, 3):
        shares = {name: count / size for name, size in sizes.items()}
        densities = _layers.density_tree(params, sizes, shares)
        assert set(_layers.kept_counts(params, densities).values()) == {count}


def test_each_leaf_needs_a_density():
    with pytest.raises(ValueError, match=r"`densities` must have a leaf 'b'.*\['a'\]"):
        _layers.kept_counts({"b": jnp.ones(3)}, {"a": 0.5})
