"""Erdős-Rényi densities: jaxpruner's numbers, and none above 1."""

import jax.numpy as jnp
import pytest

from jaxdist import sparsity


def layers(*shapes):
    return [jnp.ones(shape) for shape in shapes]


def test_densities_of_jaxpruner():
    """As its `sparsity_distributions.erk` says for a sparsity of 95 %."""
    params = layers((64, 256), (256, 256), (256, 256), (256, 10))
    found = sparsity.erdos_renyi_densities(params, 0.05)
    assert found == pytest.approx([0.0910, 0.0364, 0.0364, 0.4842], abs=4e-4)


def test_full_layers_leave_the_rest_to_the_others():
    params = layers((64, 64), (3, 2))
    found = sparsity.erdos_renyi_densities(params, 0.1)
    assert found[1] == 1
    assert found[0] * 4096 + 6 == pytest.approx(0.1 * 4102, abs=1)
    assert sparsity.erdos_renyi_densities(params, 1.0) == [1, 1]
