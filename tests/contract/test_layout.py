"""Where states live: specs fit every leaf, and init puts them there."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization
from jax.sharding import AxisType, PartitionSpec

import jaxdist as jd
from tests import harness
from tests.contract import table

EACH = table.each(table.TRANSFORMATIONS)


def paths_below_marks(state):
    """Return the paths of the leaves that differ between workers."""

    def is_mark(node):
        return isinstance(node, jd.PerWorkerState)

    nodes = jax.tree.leaves_with_path(state, is_leaf=is_mark)
    return {
        (*path, *below)
        for path, node in nodes
        if is_mark(node)
        for below, _ in jax.tree.leaves_with_path(node)
    }


@EACH
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_init_follows_the_specs(row, axis_type):
    params = harness.params_like(harness.gradients())
    mesh = harness.make_mesh(axis_type)
    tx = optax.chain(row.tx, optax.adam(1e-3))
    specs = jd.state_specs(tx, params, harness.AXIS)
    state = jd.init(tx, params, mesh, harness.AXIS)
    chex.assert_trees_all_equal_structs(specs, state)
    per_worker = paths_below_marks(state)
    for (path, leaf), spec in zip(
        jax.tree.leaves_with_path(state), jax.tree.leaves(specs), strict=True
    ):
        assert len(spec) <= leaf.ndim, path
        own = path in per_worker
        assert spec == (PartitionSpec(harness.AXIS) if own else PartitionSpec()), path
        if own:
            assert leaf.shape[0] == harness.NUM_WORKERS, path
        assert leaf.is_fully_replicated != own or not leaf.size, path


@EACH
def test_tree_map_params_understands_the_state(row):
    params = harness.params_like(harness.gradients())
    state = jax.jit(
        jax.vmap(
            row.tx.init,
            in_axes=None,
            axis_size=harness.NUM_WORKERS,
            axis_name=harness.AXIS,
        )
    )(params)
    optax.tree_map_params(row.tx, lambda leaf: leaf, state)
    _travels_as_plain_numbers(state)


def _travels_as_plain_numbers(state):
    """What serializes, casts and sums states must not meet a typed key."""
    numbers = jax.tree.map(np.asarray, state)
    sent = serialization.to_bytes(state)
    restored = serialization.from_bytes(jax.tree.map(np.zeros_like, numbers), sent)
    chex.assert_trees_all_equal(restored, numbers)
    with jax.numpy_dtype_promotion("standard"):
        optax.tree.norm(state)
        optax.tree.cast(state, jnp.float32)
