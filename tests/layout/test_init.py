"""Init makes states where they will live, and leaves the parameters alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxdist as jd
from tests import harness

PARAMS = {"w": jnp.ones((3, 4))}
TX = optax.chain(
    jd.aggregate(
        harness.AXIS,
        compressor=jd.compression.error_feedback(jd.compression.top_k(0.1)),
    ),
    optax.adam(1e-3),
)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_state_is_on_the_mesh(axis_type):
    mesh = harness.make_mesh(axis_type)
    state = jd.init(TX, PARAMS, mesh, harness.AXIS)
    residual = state[0].uplink.inner_state["w"].residual
    assert residual.shape == (8, 3, 4)
    assert len(residual.sharding.device_set) == 8
    assert residual.addressable_shards[0].data.shape == (1, 3, 4)
    assert state[1][0].mu["w"].is_fully_replicated


def test_parameters_that_are_on_the_mesh_stay_there():
    mesh = harness.make_mesh()
    placed = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
    state = jd.init(TX, placed, mesh, harness.AXIS)
    np.testing.assert_array_equal(state[1][0].mu["w"], jnp.zeros((3, 4)))


def test_model_axis_keeps_the_sharding_of_the_parameters():
    """Only the workers' axis is mapped; sharding over others passes through."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, PartitionSpec(None, "model"))
    params = jax.device_put({"w": jnp.ones((4, 6))}, sharding)
    tx = jd.per_worker("data", optax.trace(0.9))
    state = jd.init(tx, params, mesh, "data")
    assert state.inner_state.trace["w"].shape == (4, 4, 6)
    assert state.inner_state.trace["w"].sharding.spec[0] == "data"


def test_mesh_must_have_the_axis():
    with pytest.raises(ValueError, match=r"one of the axes .*\('data',\), got 'rows'"):
        jd.init(jd.aggregate("rows"), PARAMS, harness.make_mesh(), "rows")


def test_what_holds_a_state_is_made_and_placed_too():
    tx = optax.chain(jd.per_worker(harness.AXIS, optax.trace(0.9)), optax.sgd(0.1))

    def create(params):
        return {"params": params, "opt_state": tx.init(params)}

    mesh = harness.make_mesh()
    state = jd.init(create, {"w": jnp.ones(3)}, mesh, harness.AXIS)
    assert state["opt_state"][0].inner_state.trace["w"].shape == (8, 3)
    specs = jd.state_specs(create, {"w": jnp.ones(3)}, harness.AXIS)
    assert specs["opt_state"][0].inner_state.trace["w"] == PartitionSpec(harness.AXIS)
    assert specs["params"]["w"] == PartitionSpec()
    with pytest.raises(ValueError, match="`tx` must be the optimizer itself"):
        levels = jax.make_mesh((2, 4), ("dcn", "ici"))
        jd.state_specs(create, jnp.ones(3), ("dcn", "ici"), levels)
