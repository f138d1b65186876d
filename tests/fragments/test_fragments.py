"""Fragments: trees with holes, that together are the whole again."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxdist as jd
from jaxdist import _tree
from jaxdist.fragments import _fragments
from tests import harness

PARAMS = {"a": jnp.ones(2), "b": [jnp.zeros(3), jnp.ones(1)], "none": None}


def test_parts_are_the_whole_again():
    fragments = jd.fragments.assigned(lambda name, leaf: int(name != "b/0"))
    parts = fragments.split(PARAMS)
    assert [len(jax.tree.leaves(part)) for part in parts] == [1, 2]
    harness.assert_trees_equal(fragments.join(parts, PARAMS), PARAMS)


def test_leaves_of_a_part_keep_their_names():
    first, second = jd.fragments.assigned({"a": 0, "b": 1, "none": None}).split(PARAMS)
    assert _tree.flatten_named(first)[0] == ["a"]
    assert _tree.flatten_named(second)[0] == ["b/0", "b/1"]
    assert first["b"] == [optax.MaskedNode(), optax.MaskedNode()]


def test_one_fragment_is_the_tree():
    (part,) = _fragments.whole().split(PARAMS)
    harness.assert_trees_equal(part, PARAMS)


def test_shapes_split_as_arrays_do():
    fragments = jd.fragments.strided(2)
    shapes = jax.eval_shape(lambda: PARAMS)
    outlines = map(jax.tree.structure, fragments.split(shapes))
    assert list(outlines) == list(map(jax.tree.structure, fragments.split(PARAMS)))


def test_no_fragment_is_empty():
    with pytest.raises(ValueError, match="each fragment from 0 to 4 a leaf, got none"):
        jd.fragments.assigned(lambda name, leaf: 4).split(PARAMS)
    with pytest.raises(ValueError, match="must have leaves for one fragment"):
        _fragments.whole().split({})


def test_fragments_show_how_they_were_made():
    assert repr(jd.fragments.strided(3)) == "strided(3)"
