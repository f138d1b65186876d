"""Smart densities: the counts of the paper's code, for its networks."""

import math

import jax.numpy as jnp
import pytest

from jaxdist import sparsity
from tests.sparsity import shapes


def kept(params, densities):
    return [
        round(density * math.prod(leaf.shape))
        for density, leaf in zip(densities, params, strict=True)
    ]


@pytest.mark.parametrize(
    ("density", "total", "first", "end"),
    [
        (0.1, 185_541, [0.7984, 0.7528, 0.7085, 0.6656], None),
        (0.05, 92_761, None, None),
        (0.02, 37_094, [0.1584, 0.1493, 0.1405, 0.1320], [0.00266, 0.0016, 0.0008]),
    ],
)
def test_counts_of_resnet32(density, total, first, end):
    params = shapes.resnet32()
    assert len(params) == 34
    assert sum(math.prod(leaf.shape) for leaf in params) == 1_855_584
    found = sparsity.smart_densities(params, density)
    assert sum(kept(params, found)) == total
    assert found[-1] == 0.3
    if first:  # to the elements of the first, smallest layers
        assert found[:4] == pytest.approx(first, abs=1.2e-3)
    if end:
        assert found[-4:-1] == pytest.approx(end, abs=1e-5)


@pytest.mark.parametrize(
    ("density", "total", "full"),
    # Their code computes it so: 0.1 itself keeps one weight more.
    [(1 - 0.9, 2_002_394, 6), (0.05, 1_001_194, 4), (0.02, 400_474, 2)],
)
def test_counts_of_vgg19(density, total, full):
    params = shapes.vgg19()
    assert sum(math.prod(leaf.shape) for leaf in params) == 20_024_000
    found = sparsity.smart_densities(params, density, residual=False)
    assert sum(kept(params, found)) == total
    assert [density == 1 for density in found] == [True] * full + [False] * (17 - full)
    if density == 0.02:
        assert found[2:4] == pytest.approx([0.8384, 0.2635], abs=1e-4)
        assert found[-4:-1] == pytest.approx([0.00205, 0.00107, 0.00047], abs=1e-5)


def test_names_are_sorted_as_people_do_or_as_told():
    params = {name: jnp.ones((8, 8)) for name in ("conv10", "conv2", "conv1", "out")}
    found = sparsity.smart_densities(params, 0.25)
    assert found["conv1"] > found["conv2"] > found["conv10"]
    order = ["conv10", "conv2", "conv1", "out"]
    told = sparsity.smart_densities(params, 0.25, order=order)
    assert told["conv1"] == found["conv10"] and told["conv10"] == found["conv1"]


def test_what_a_full_layer_has_no_room_for_goes_to_the_next():
    """Of 69 of 72 weights the last keeps 2, the first would keep 7 of its 4."""
    params = [jnp.ones((2, 2)), jnp.ones((8, 8)), jnp.ones((2, 2))]
    found = sparsity.smart_densities(params, 0.96, last=0.5)
    assert kept(params, found) == [4, 63, 2]


@pytest.mark.parametrize("density", [0.99, 0.001])
def test_the_last_layer_leaves_room_for_the_others(density):
    params = [jnp.ones((8, 8)), jnp.ones((8, 8))]
    with pytest.raises(ValueError, match="`last` must leave between 1 and 64 .*got"):
        sparsity.smart_densities(params, density)


def test_one_layer_has_no_depth():
    with pytest.raises(ValueError, match="`params` must have two leaves to prune"):
        sparsity.smart_densities([jnp.ones((8, 8)), jnp.ones(8)], 0.5)
