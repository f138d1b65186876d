"""Messages go to whom the matrix says, as bytes, on every kind of axis."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxdist as jd
from jaxdist.gossip import _network
from tests import harness

TOPOLOGIES = [
    jd.gossip.torus(2, 4),
    jd.gossip.star(),
    jd.gossip.complete(),
    jd.gossip.one_peer_exponential(),
]
EVERY = pytest.mark.parametrize("topology", TOPOLOGIES, ids=repr)
PARAMS = jax.random.normal(jax.random.key(0), (8, 3))
AXES = ("node", "worker")


def auto_mesh(shape, names):
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))


def mixed(topology, axis_name, params, weight=None):
    tx = jd.mix_with_neighbors(axis_name, topology)
    extra = {} if weight is None else {"weight": weight}
    updates, _ = tx.update(jnp.zeros_like(params), tx.init(params), params, **extra)
    return params + updates


@EVERY
def test_tuples_of_axes_under_nested_vmap_and_on_a_mesh(topology):
    expected = topology.matrix(8) @ np.asarray(PARAMS)
    worker = functools.partial(mixed, topology, AXES)
    nested = jax.jit(jax.vmap(jax.vmap(worker, axis_name="worker"), axis_name="node"))
    found = nested(PARAMS.reshape(2, 4, 3)).reshape(8, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    mesh = auto_mesh((2, 4), AXES)
    for check in (True, False):
        mapped = jax.shard_map(
            lambda x: worker(x[0])[None],
            mesh=mesh,
            in_specs=PartitionSpec(AXES),
            out_specs=PartitionSpec(AXES),
            check_vma=check,
        )
        found = jax.jit(mapped)(PARAMS)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_vmap_inside_of_a_mesh_without_types():
    topology = jd.gossip.torus(2, 4)
    worker = functools.partial(mixed, topology, AXES)
    mapped = jax.shard_map(
        lambda x: jax.vmap(worker, axis_name="worker")(x[0])[None],
        mesh=auto_mesh((2,), ("node",)),
        in_specs=PartitionSpec("node"),
        out_specs=PartitionSpec("node"),
        check_vma=False,
    )
    found = jax.jit(mapped)(PARAMS.reshape(2, 4, 3)).reshape(8, 3)
    expected = topology.matrix(8) @ np.asarray(PARAMS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_a_model_axis_shards_travels_apart():
    """A replicated bias keeps its type next to a sharded kernel."""
    topology = jd.gossip.ring()

    def worker(kernel, bias):
        tree = {"kernel": kernel[0], "bias": bias[0]}
        tx = jd.mix_with_neighbors("data", topology)
        moved, _ = tx.update(jax.tree.map(jnp.zeros_like, tree), tx.init(tree), tree)
        return tuple((tree[k] + moved[k])[None] for k in ("kernel", "bias"))

    specs = (PartitionSpec("data", "model"), PartitionSpec("data"))
    mapped = jax.shard_map(
        worker, mesh=auto_mesh((4, 2), ("data", "model")),
        in_specs=specs, out_specs=specs,
    )  # fmt: skip
    kernel, bias = PARAMS[:4, :2], PARAMS[4:, 2:]
    found = jax.jit(mapped)(kernel, bias)
    for out, given in zip(found, (kernel, bias), strict=True):
        np.testing.assert_allclose(
            out, topology.matrix(4) @ np.asarray(given), rtol=1e-5, atol=1e-6
        )


def test_narrow_floats_travel_as_bytes():
    params = {"w": jnp.zeros((8, 10), jnp.bfloat16)}
    tx = jd.mix_with_neighbors(harness.AXIS, jd.gossip.torus(2, 4))
    program = harness.steps_program(tx, "shard_map")
    arguments = harness.steps_inputs(params, {"w": jnp.zeros((2, 8, 10), jnp.bfloat16)})
    text = program.lower(*arguments).compile().as_text()
    assert harness.bytes_sent(text) == 3 * 10 * 2
    assert len(harness.collectives(text)) == 3


def test_only_all_to_all_is_gathered():
    def networks(topology, num_workers):
        return _network.Network(topology, "x", num_workers, 0)

    assert networks(jd.gossip.complete(), 8).gathers
    assert networks(jd.gossip.ring(), 3).gathers
    assert not networks(jd.gossip.ring(), 4).gathers
    assert not networks(jd.gossip.star(), 4).gathers
    assert not networks(jd.gossip.one_peer_exponential(), 2).num_moves > 1


def test_senders_and_receivers_belong_together():
    network = _network.Network(jd.gossip.star(), "x", 4, 0)

    def worker(_):
        return network.senders, network.receivers

    senders, receivers = jax.jit(jax.vmap(worker, axis_name="x"))(jnp.arange(4))
    for move in range(3):
        for sender, receiver in enumerate(receivers[:, move]):
            assert receiver < 0 or senders[receiver, move] == sender
    assert (receivers[0] >= 0).all() and (receivers >= 0).sum() == 6


def test_simulated_time_lets_all_meet():
    def loss(params, batch):
        return jnp.mean((params - batch) ** 2)

    tx = jd.mix_with_neighbors("data", jd.gossip.ring())
    for protocol in (jd.timing.k_sync(4), jd.timing.k_async(2)):
        init, step = jd.simulate_async(
            loss, tx, num_workers=4, axis_name="data", protocol=protocol,
            compute_time=jd.timing.exponential(), per_worker_params=True,
        )  # fmt: skip
        if protocol.name == "k_sync(4)":
            step(init(jnp.zeros(())), jnp.arange(4.0))
            continue
        with pytest.raises(ValueError, match="`topology` ring.* all 4 workers, but"):
            step(init(jnp.zeros(())), jnp.arange(4.0))


def test_hundreds_of_workers():
    for topology in (jd.gossip.torus(16, 16), jd.gossip.random_pairs()):
        worker = functools.partial(mixed, topology, "data")
        params = jax.random.normal(jax.random.key(0), (256, 4))
        found = jax.jit(jax.vmap(worker, axis_name="data"))(params)
        phase = int(topology.phase_of_step(256, jnp.zeros((), jnp.int32)))
        expected = topology.matrix(256, phase) @ np.asarray(params)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
