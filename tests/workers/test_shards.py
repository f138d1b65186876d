"""How leaves are sharded inside of a worker, from where arrays are."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from jaxdist.workers import _shards

MESH = AbstractMesh((2, 4, 1), ("dcn", "fsdp", "tp"))


def like(shape, *spec):
    sharding = NamedSharding(MESH, PartitionSpec(*spec))
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)


def test_only_axes_inside_of_a_worker_count():
    params = {
        "a": like((8, 4), ("dcn", "fsdp"), "tp"),
        "b": like((3,)),
        "c": jnp.ones(2),
    }
    shards = _shards.shards_of(params, "dcn")
    assert shards.leaves == (
        ("a", (8, 4), PartitionSpec("fsdp")),
        ("b", (3,), PartitionSpec()),
        ("c", (2,), PartitionSpec()),
    )
    assert shards.axes == ("fsdp",) and shards.number == 4
    assert shards.shapes_of_shards(params)["a"].shape == (2, 4)
    assert shards.shapes_of_shards(params)["b"].shape == (3,)
    assert _shards.shards_of({"b": params["b"], "c": params["c"]}) is None


def test_leading_axes_are_of_workers():
    params = {"a": like((2, 8), "dcn", "fsdp")}
    shards = _shards.shards_of(params, "dcn", num_leading=1)
    assert shards.leaves == (("a", (8,), PartitionSpec("fsdp")),)


def test_what_is_declared_ends_with_the_block():
    shards = _shards.shards_of({"a": like((8,), "fsdp")}, "dcn")
    tree = {"a": jnp.zeros(8)}
    assert _shards.declared_for(tree) is None
    with _shards.declare(shards):
        assert _shards.declared_for(tree) is shards
        with pytest.raises(ValueError, match="`updates` must have the leaves of the p"):
            _shards.declared_for({"a": jnp.zeros(7)})
        with _shards.declare(None):
            assert _shards.declared() is shards
        with _shards.enter(shards.axes):
            assert _shards.declared_for(tree) is None
            assert _shards.axes_inside() == ("fsdp",)
    assert _shards.declared() is None and _shards.axes_inside() == ()


@pytest.mark.parametrize("spec", [("fsdp",), (None, "fsdp")])
def test_nothing_is_placed_without_a_mesh(spec):
    leaf = jnp.zeros((4, 4))
    assert _shards.place_array(leaf, PartitionSpec(*spec)) is leaf


def test_what_is_called_as_a_leaf_lives_where_it_does():
    params = {
        "w": like((8, 8), "fsdp"),
        "a": {"w": like((8, 8), None, "fsdp"), "b": like((8, 8))},
    }
    shards = _shards.shards_of(params, "dcn")
    state = {
        "mu": {
            k: jax.tree.map(lambda x: jnp.zeros(x.shape), v) for k, v in params.items()
        }
    }
    state["own"] = {"a": {"w": jnp.zeros((2, 8, 8))}, "b": jnp.zeros((8, 7))}
    specs = {
        jax.tree_util.keystr(path, simple=True, separator="/"): shards.spec_by_suffix(
            path, leaf
        )
        for path, leaf in jax.tree.leaves_with_path(state)
    }
    assert specs == {
        "mu/w": PartitionSpec("fsdp"),
        "mu/a/w": PartitionSpec(None, "fsdp"),
        "mu/a/b": PartitionSpec(),
        "own/a/w": PartitionSpec(None, None, "fsdp"),
        "own/b": PartitionSpec(),
    }


def test_axes_of_levels_add_up():
    with _shards.enter(("a",)), _shards.enter(("b", "a"), has_parts=True):
        assert _shards.axes_inside() == ("a", "b")
        assert _shards.has_parts()
