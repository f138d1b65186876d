"""Shards that are declared by hand; tests/aggregation/test_on_shards.py trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

import jaxdist as jd

MESH = AbstractMesh((2, 4), ("dcn", "fsdp"))


def like(shape, *spec):
    sharding = NamedSharding(MESH, PartitionSpec(*spec))
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)


def test_states_are_those_of_shards():
    params = {"a": like((8, 6), None, "fsdp"), "b": like((5,))}
    with pytest.raises(ValueError, match="`params` must have leaves that are sharded"):
        jd.per_shard(jd.aggregate("dcn"), {"b": params["b"]})
    params["a"] = like((6, 8), None, "fsdp")
    memory = jd.compression.error_feedback(jd.compression.power_sgd(1))
    tx = jd.per_shard(jd.aggregate("dcn", compressor=memory), params)
    state = jax.eval_shape(tx.init, params)
    shapes = {leaf.shape for leaf in jax.tree.leaves(state.uplink.inner_state["a"])}
    assert shapes == {(1, 4, 2, 1), (1, 6, 8)}


def test_a_tree_without_sharded_leaves_is_as_it_would_be():
    tx = jd.per_shard(optax.trace(0.9), {"a": like((8,), "fsdp")})
    updates = {"other": np.ones(3, np.float32)}
    updates, state = tx.update(updates, tx.init(updates))
    np.testing.assert_array_equal(state.trace["other"], np.ones(3))
