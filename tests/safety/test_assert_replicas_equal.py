"""A planted divergence is caught, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxdist as jd
from tests import harness
from tests.recipes import problem

VALUE = np.arange(24, dtype=np.float32).reshape(4, 6)


def grid(axis_type=AxisType.Auto):
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(axis_type,) * 2)


def planted(mesh, spec, device_id, value=VALUE):
    """Return a global array of which one device holds one other bit."""
    sharding = NamedSharding(mesh, spec)
    pieces = []
    for device, index in sharding.addressable_devices_indices_map(value.shape).items():
        piece = value[index].copy()
        if device.id == device_id:
            piece.view(np.uint32)[0, 0] ^= 1
        pieces.append(jax.device_put(piece, device))
    return jax.make_array_from_single_device_arrays(value.shape, sharding, pieces)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec(None, "model")])
def test_a_planted_divergence_is_named(spec, axis_type):
    mesh = grid(axis_type)
    good = planted(mesh, spec, device_id=None)
    jd.assert_replicas_equal({"w": good})
    bad = planted(mesh, spec, device_id=5)
    with pytest.raises(
        RuntimeError, match="differ.*: leaf 'v/w' on device 5 of process 0. Restore"
    ):
        jd.assert_replicas_equal({"u": good, "v": {"w": bad}})


def test_what_is_sharded_has_no_replicas():
    spec = PartitionSpec("data", "model")
    jd.assert_replicas_equal(planted(grid(), spec, device_id=5))


@pytest.mark.usefixtures("standard_promotion")
def test_a_whole_train_state_passes_and_is_caught():
    tx = optax.chain(
        jd.aggregate(
            "data", compressor=jd.compression.error_feedback(jd.compression.top_k(0.2))
        ),
        optax.adam(0.01),
    )
    mesh = harness.make_mesh()
    init, step = jd.data_parallel(problem.loss, tx, mesh, "data")
    state, _ = step(init(problem.PARAMS), problem.BATCH)
    jd.assert_replicas_equal(state)
    value = np.asarray(state.params["v"])
    drifted = planted(mesh, PartitionSpec(), device_id=0, value=value)
    state = state._replace(params={**state.params, "v": drifted})
    with pytest.raises(RuntimeError, match="leaf 'params/v' on device 0"):
        jd.assert_replicas_equal(state)


def test_nan_equals_itself_and_keys_and_empty_leaves_are_fine():
    tree = {
        "nan": jnp.full(3, jnp.nan),
        "key": jax.random.key(0),
        "empty": jnp.zeros((0, 2)),
    }
    replicated = NamedSharding(grid(), PartitionSpec())
    jd.assert_replicas_equal(jax.device_put(tree, replicated))
    jd.assert_replicas_equal(())


def test_arrays_elsewhere_are_refused():
    with pytest.raises(ValueError, match="on a mesh, but leaf 'x'"):
        jd.assert_replicas_equal({"x": jnp.ones(3)})
    with pytest.raises(ValueError, match="on a mesh, but leaf 'x'"):
        jd.assert_replicas_equal({"x": np.ones(3)})
    arrays = [
        jax.device_put(jnp.ones(3), NamedSharding(mesh, PartitionSpec()))
        for mesh in (grid(), harness.make_mesh())
    ]
    with pytest.raises(ValueError, match="on one mesh, but leaf '1'"):
        jd.assert_replicas_equal(arrays)
