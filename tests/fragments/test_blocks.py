"""Blocks: the layers of a network, found by the names of leaves."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist.fragments import _blocks


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("layers/3/mlp/kernel", "layers/3"),
        ("layers_3/kernel", "layers_3"),
        ("encoder/layers/0/experts/1/w", "encoder/layers/0"),
        ("0/w", "0"),
        ("embed/kernel", "embed"),
        ("final/norm/scale", "final/norm"),
        ("head", "head"),
        ("", ""),
    ],
)
def test_the_block_of_a_leaf(name, block):
    assert _blocks.block_name(name) == block


def test_blocks_come_in_the_order_of_the_tree_and_of_their_numbers():
    names = ["embed/w", "h_0/w", "h_1/b", "h_1/w", "h_10/w", "h_2/w", "out"]
    wanted = ["embed", "h_0", "h_1", "h_2", "h_10", "out"]
    assert _blocks.ordered_blocks(names) == wanted


def test_fewer_blocks_than_fragments_are_refused():
    with pytest.raises(ValueError, match="`num_fragments` must be at most.*2.*got 3"):
        jd.fragments.strided(3).split({"a": jnp.ones(1), "b": jnp.ones(1)})
