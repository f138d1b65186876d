"""Sequential: runs of layers, as equal as they can be."""

import jax.numpy as jnp
import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    ("layers", "fragments", "wanted"),
    [
        (6, 3, [0, 0, 1, 1, 2, 2]),
        (7, 3, [0, 0, 0, 1, 1, 2, 2]),
        (3, 3, [0, 1, 2]),
        (12, 1, [0] * 12),
    ],
)
def test_runs_of_layers(layers, fragments, wanted):
    network = [{"w": jnp.ones(1)} for _ in range(layers)]
    assert jd.fragments.sequential(fragments).number_leaves(network) == wanted
