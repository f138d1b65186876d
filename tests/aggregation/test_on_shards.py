"""Pods: parameters sharded inside of a worker, each device sends its own shards."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxdist as jd
from tests import harness

pytestmark = pytest.mark.usefixtures("standard_promotion")  # Adam
C = jd.compression
SIGN = C.error_feedback(C.scaled_sign())
SPECS = {"rows": P("fsdp"), "columns": P(None, "fsdp"), "bias": P()}
SHAPES = {"rows": (16, 8), "columns": (8, 16), "bias": (8,)}
CUT = {"rows": 0, "columns": 1}  # which axis of a leaf is sharded


def make_pods(num_pods=2, axis_type=AxisType.Auto):
    """Return a mesh of eight devices in so many pods."""
    shape = num_pods, 8 // num_pods
    return jax.make_mesh(shape, ("dcn", "fsdp"), axis_types=(axis_type,) * 2)


def make_params(mesh, specs=SPECS):
    """Return parameters that are sharded inside of each pod."""
    rng = np.random.default_rng(0)
    return {
        name: jax.device_put(
            jnp.asarray(0.3 * rng.standard_normal(shape), jnp.float32),
            NamedSharding(mesh, specs[name]),
        )
        for name, shape in SHAPES.items()
    }


def loss(params, batch):
    """Return the mean error of a small network."""
    hidden = jnp.tanh(batch @ params["rows"] + jnp.expand_dims(params["bias"], 0))
    return jnp.mean((hidden @ params["columns"] - batch) ** 2)


def batch_of(index):
    """Return a batch of 16."""
    rng = np.random.default_rng(index + 1)
    return rng.standard_normal((16, 16)).astype(np.float32)


def split(params, number):
    """Return parameters with a leaf for each shard."""
    return {
        name: np.split(np.asarray(leaf), number, CUT[name])
        if name in CUT
        else np.asarray(leaf)
        for name, leaf in params.items()
    }


def joined_loss(params, batch):
    """Return the loss of parameters in shards."""
    whole = {
        name: jnp.concatenate(leaf, CUT[name]) if name in CUT else leaf
        for name, leaf in params.items()
    }
    return loss(whole, batch)


def train(tx, params, mesh, num_steps=3, **options):
    """Return the state after a few steps."""
    init, step = jd.data_parallel(loss, tx, mesh, "dcn", **options)
    state = init(params)
    for index in range(num_steps):
        state, metrics = step(state, batch_of(index))
    return state, metrics


def simulate_shards(tx, mesh, num_steps=3):
    """Return the state, and metrics, where each shard is a leaf of its own."""
    num_pods, number = mesh.shape["dcn"], mesh.shape["fsdp"]
    init, step = jd.simulate(joined_loss, tx, num_pods, "dcn")
    state = init(split(make_params(mesh), number))
    for index in range(num_steps):
        state, metrics = step(state, batch_of(index))
    return state, metrics


def assert_params_close(state, wanted, number):
    """Compare parameters with those of a simulation in so many shards."""
    found = split(state.params, number)
    harness.assert_trees_close(
        found, jax.tree.map(np.asarray, wanted.params), atol=1e-5
    )


AGGREGATIONS = {
    "dense": lambda: jd.aggregate("dcn"),
    "signs": lambda: jd.aggregate("dcn", compressor=SIGN, downlink=SIGN),
    "top_k": lambda: jd.aggregate("dcn", compressor=C.error_feedback(C.top_k(0.2))),
    "ef21": lambda: jd.aggregate("dcn", compressor=C.ef21(C.top_k(0.2))),
    "krum": lambda: jd.aggregate("dcn", jd.rules.krum(0), SIGN),
    "geometric": lambda: jd.aggregate("dcn", jd.rules.geometric_median()),
    "clipping": lambda: jd.aggregate("dcn", jd.rules.centered_clipping(0.1)),
    "trimmed": lambda: jd.aggregate("dcn", jd.rules.trimmed_mean(1), SIGN, "scatter"),
    "leaf": lambda: jd.aggregate("dcn", jd.rules.median(), scope="leaf"),
    "buckets": lambda: jd.aggregate("dcn", compressor=SIGN, downlink=SIGN, buckets=3),
    "late": lambda: optax.chain(
        jd.per_worker("dcn", jd.delay_updates(1)), jd.aggregate("dcn", compressor=SIGN)
    ),
    "dense buckets": lambda: jd.aggregate("dcn", buckets=3),
}


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_shard_is_compressed_as_a_leaf_would_be(name):
    """Against a simulation in which each shard is a leaf; rules see all of them."""
    mesh = make_pods(4)
    params = make_params(mesh)
    tx = optax.chain(AGGREGATIONS[name](), optax.adam(1e-2))
    state, metrics = train(tx, params, mesh)
    wanted, seen = simulate_shards(tx, mesh)
    assert_params_close(state, wanted, 2)
    harness.assert_trees_close(metrics, seen, atol=1e-4)


SIXTEEN = """
import json, jax
jax.config.update("jax_num_cpu_devices", 16)
from tests import tpu_schedule
print(json.dumps([tpu_schedule.pod_bytes(n, jax.devices()) for n in (2, 4, 8)]))
"""


def test_what_leaves_pods_of_eight_devices():
    """In a process with sixteen devices; tests/test_tpu_schedule.py has as many."""
    result = subprocess.run(
        [sys.executable, "-c", SIXTEEN], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    for sent, reported in json.loads(result.stdout.splitlines()[-1]):
        assert sent == reported > 0


def gathered_loss(params, batch):
    """Return the loss where types say how parameters are sharded."""
    whole = jax.tree.map(lambda x: jax.sharding.reshard(x, P(None)), params)
    return loss(whole, batch)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name", ["signs", "top_k", "geometric", "buckets"])
def test_what_leaves_a_pod_is_what_the_report_says(name, axis_type):
    mesh = make_pods(2, axis_type)
    params = make_params(mesh)
    tx = optax.chain(AGGREGATIONS[name](), optax.adam(1e-2))
    function = loss if axis_type == AxisType.Auto else gathered_loss
    init, step = jd.data_parallel(function, tx, mesh, "dcn")
    state = init(params)
    batch = batch_of(0)
    text = harness.leaving(step.lower(state, batch).compile().as_text(), 4)
    report = jd.communication_report(tx, params, 2)
    assert report.num_devices == 4
    loss_nbytes = 4  # the mean of the losses of two pods
    assert harness.bytes_sent(text, 2) == report.axis_nbytes["dcn"] + loss_nbytes
    alone = jd.communication_report(tx, jax.tree.map(np.asarray, params), 2)
    if name == "signs":  # the bias is not sharded
        assert report.total_nbytes < 0.7 * alone.total_nbytes
    state, _ = step(state, batch)
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        if leaf.shape[-2:] in (SHAPES["rows"], SHAPES["columns"]):
            assert leaf.addressable_shards[0].data.size == 16 * 8 // 4


def pod_grid():
    """Return a mesh whose pods shard parameters over two axes."""
    axis_types = (AxisType.Auto,) * 3
    return jax.make_mesh((2, 2, 2), ("dcn", "fsdp", "tp"), axis_types=axis_types)


GRID_SPECS = {
    "rows": P("fsdp", "tp"),
    "columns": P(None, ("tp", "fsdp")),
    "bias": P("tp"),
}


def test_leaves_that_are_sharded_over_several_axes():
    mesh = pod_grid()
    tx = optax.chain(jd.aggregate("dcn", jd.rules.geometric_median()), optax.adam(1e-2))
    state, metrics = train(tx, make_params(mesh, GRID_SPECS), mesh)
    wanted, seen = train(tx, make_params(make_pods()), make_pods())
    harness.assert_trees_close(
        *jax.tree.map(np.asarray, (state.params, wanted.params)), atol=1e-5
    )
    low_rank = C.error_feedback(C.power_sgd(1))
    tx = optax.chain(jd.aggregate("dcn", compressor=low_rank), optax.adam(1e-2))
    state, metrics = train(tx, make_params(mesh, GRID_SPECS), mesh)
    memory = state.opt_state[0].uplink.inner_state
    assert np.isfinite(metrics["loss"])
    assert state.params["rows"].sharding.spec == P("fsdp", "tp")
    shapes = {leaf.shape for leaf in jax.tree.leaves(memory["rows"])}
    assert shapes == {(2, 16, 8), (2, 4, 4, 1)}  # the residual, and a factor each
    assert {leaf.shape for leaf in jax.tree.leaves(memory["bias"])} == {(2, 8)}


ROUNDS = optax.chain(
    jd.aggregate("dcn", compressor=SIGN, downlink=SIGN), optax.sgd(0.7)
)


@pytest.mark.parametrize("fragments", [None, jd.fragments.strided(2)])
def test_local_rounds_of_pods(fragments):
    mesh = make_pods()
    options = {"outer": ROUNDS, "fragments": fragments}
    batches = np.stack([batch_of(i) for i in range(4)])
    init, step = jd.data_parallel(loss, optax.adam(1e-2), mesh, "dcn", **options)
    state, metrics = step(init(make_params(mesh)), batches)
    init, step = jd.simulate(joined_loss, optax.adam(1e-2), 2, "dcn", **options)
    if fragments is None:
        wanted, seen = step(init(split(make_params(mesh), 4)), batches)
        assert_params_close(state, wanted, 4)
        harness.assert_trees_close(metrics, seen, atol=1e-5)
    assert np.isfinite(metrics["loss"])
    for name in CUT:
        assert state.params[name].sharding.spec == SPECS[name]


def test_a_pod_that_is_absent_and_one_that_is_not_finite():
    mesh = make_pods(4)
    tx = jd.skip_nonfinite(
        "dcn", optax.chain(AGGREGATIONS["signs"](), optax.adam(1e-2))
    )
    init, step = jd.data_parallel(loss, tx, mesh, "dcn")
    state = init(make_params(mesh))
    weight = np.array([1, 0, 1, 1], np.float32)
    state, metrics = step(state, batch_of(0), weight=weight)
    memory = state.opt_state.inner_state[0].uplink.inner_state["rows"]
    (residual,) = [np.asarray(x) for x in jax.tree.leaves(memory) if x.ndim == 3]
    assert not residual[1].any() and residual[0].any()
    before = jax.tree.map(np.asarray, state.params)
    broken = batch_of(1)
    broken[:4] = np.nan
    state, _ = step(state, broken)
    harness.assert_trees_equal(jax.tree.map(np.asarray, state.params), before)
    state, metrics = step(state, batch_of(2))
    assert np.isfinite(metrics["loss"])
    assert not np.array_equal(state.params["rows"], before["rows"])


def test_a_loop_of_ones_own():
    mesh = make_pods()
    params = make_params(mesh)
    tx = optax.chain(AGGREGATIONS["signs"](), optax.adam(1e-2))
    own = jd.per_shard(tx, params)
    specs = jd.state_specs(own, params, "dcn")

    def worker(params, state, batch):
        value, grads = jd.value_and_grad(loss, "dcn")(params, batch)
        updates, state = own.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(
        jax.shard_map(
            worker,
            mesh=mesh,
            in_specs=(P(), specs, P("dcn")),
            out_specs=(P(), specs),
            axis_names={"dcn"},
        )
    )
    state = jd.init(own, params, mesh, "dcn")
    for index in range(3):
        params, state = step(params, state, batch_of(index))
    wanted, _ = train(tx, make_params(mesh), mesh)
    harness.assert_trees_close(params, wanted.params, atol=1e-6)
    assert params["rows"].sharding.spec == P("fsdp")


def test_moments_of_local_steps_are_sharded_from_the_start():
    init, step = jd.data_parallel(
        *(loss, optax.adam(1e-2), make_pods(), "dcn"), outer=ROUNDS
    )
    state = init(make_params(make_pods()))
    before = [leaf.sharding for leaf in jax.tree.leaves(state)]
    state, _ = step(state, np.stack([batch_of(i) for i in range(2)]))
    for old, leaf in zip(before, jax.tree.leaves(state), strict=True):
        assert leaf.sharding.is_equivalent_to(old, leaf.ndim)


def test_a_template_changes_nothing():
    mesh, tx = make_pods(), optax.chain(AGGREGATIONS["top_k"](), optax.adam(1e-2))
    init, step = jd.data_parallel(loss, tx, mesh, "dcn")
    state = init(make_params(mesh))
    shapes = jax.eval_shape(init, make_params(mesh))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, state)
    batches = jnp.asarray(np.stack([batch_of(i) for i in range(3)]))
    scan = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches))
    state, _ = scan(state, batches)
    wanted, _ = train(tx, make_params(mesh), mesh)
    harness.assert_trees_close(state.params, wanted.params, atol=1e-6)


def test_leaves_that_are_joined_before_are_refused():
    tx = optax.chain(optax.flatten(jd.aggregate("dcn")), optax.sgd(0.1))
    with pytest.raises(ValueError, match="`updates` must have the leaves of the param"):
        train(tx, make_params(make_pods()), make_pods())


def test_reports_refuse_what_training_refuses():
    params = make_params(make_pods())
    with pytest.raises(ValueError, match="`params` of shard_optimizer must not be"):
        jd.communication_report(jd.shard_optimizer("dcn", optax.adam(1e-2)), params, 2)
    flat = jd.aggregate(("dcn", "fsdp"), compressor=SIGN)
    with pytest.raises(ValueError, match="`params` must not be sharded over"):
        jd.communication_report(flat, params, {"dcn": 2})
    whole = jax.tree.map(np.asarray, params)
    sizes = {"dcn": 2, "fsdp": 4}
    found, wanted = (jd.communication_report(flat, x, sizes) for x in (params, whole))
    assert found == wanted


def test_distances_need_types_where_a_leaf_is_whole():
    mesh = make_pods()
    params = make_params(mesh)
    tx = jd.per_shard(jd.aggregate("dcn", jd.rules.geometric_median()), params)

    def worker(params):
        return tx.update(params, tx.init(params))[0]

    mapped = jax.shard_map(
        worker,
        mesh=mesh,
        in_specs=P(),
        out_specs=P(),
        axis_names={"dcn"},
        check_vma=False,
    )
    with pytest.raises(ValueError, match="`rule` geometric_median.*`check_vma=True`"):
        jax.jit(mapped)(params)


def test_steps_in_a_scan():
    mesh, tx = make_pods(), optax.chain(AGGREGATIONS["signs"](), optax.adam(1e-2))
    init, step = jd.data_parallel(loss, tx, mesh, "dcn")
    batches = jnp.asarray(np.stack([batch_of(i) for i in range(3)]))
    scan = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches))
    state, _ = scan(init(make_params(mesh)), batches)
    wanted, _ = train(tx, make_params(mesh), mesh)
    harness.assert_trees_close(state.params, wanted.params, atol=1e-6)
    assert state.params["rows"].sharding.spec == P("fsdp")


def test_parameters_that_have_lost_their_sharding():
    mesh, tx = make_pods(), optax.chain(AGGREGATIONS["signs"](), optax.adam(1e-2))
    init, step = jd.data_parallel(loss, tx, mesh, "dcn")
    state = init(make_params(mesh))
    everywhere = NamedSharding(mesh, P())
    params = {k: jax.device_put(x, everywhere) for k, x in state.params.items()}
    with pytest.raises(ValueError, match="`state.params` must be sharded as those"):
        step(state._replace(params=params), batch_of(0))
    _, step = jd.data_parallel(loss, tx, mesh, "dcn")
    with pytest.raises(ValueError, match="`state` must have .* sharded in another way"):
        step(state._replace(params=params), batch_of(0))


def test_what_does_not_know_shards_is_refused():
    mesh = make_pods()
    params = make_params(mesh)
    sharded = jd.shard_optimizer("dcn", optax.adam(1e-2))
    with pytest.raises(ValueError, match="`params` of shard_optimizer must not be"):
        train(sharded, params, mesh)
    joint = C.by_leaf(SIGN, joint=True)
    with pytest.raises(ValueError, match="`compressor` must leave each leaf alone"):
        train(optax.chain(jd.aggregate("dcn", compressor=joint)), params, mesh)
    tx = jd.per_shard(jd.aggregate("dcn"), params)
    init, step = jd.simulate(loss, tx, 2, "dcn")
    with pytest.raises(
        ValueError, match="`params` are sharded over 'fsdp', which must"
    ):
        step(init(make_params(mesh)), batch_of(0))


def test_types_that_say_what_nobody_declared():
    mesh = make_pods(2, AxisType.Explicit)
    params = make_params(mesh)
    tx = jd.aggregate("dcn")

    def worker(params):
        own = jax.lax.pcast(params, "dcn", to="varying")
        return tx.update(own, tx.init(params))[0]

    mapped = jax.shard_map(
        worker, mesh=mesh, in_specs=P(), out_specs=P(), axis_names={"dcn"}
    )
    with pytest.raises(
        ValueError, match=r"sharded over \('fsdp',\), which nobody maps"
    ):
        jax.jit(mapped)(params)


@pytest.mark.parametrize("name", ["dense", "signs", "geometric"])
def test_diversity_is_that_of_whole_gradients(name):
    mesh = make_pods(4)
    tx = jd.measure_diversity("dcn", AGGREGATIONS[name]())
    tx = optax.chain(tx, optax.adam(1e-2))
    state, _ = train(tx, make_params(mesh), mesh)
    wanted, _ = simulate_shards(tx, mesh)
    found, seen = (jd.diversity_metrics(x.opt_state) for x in (state, wanted))
    np.testing.assert_allclose(found.gain, seen.gain, rtol=1e-4)
    np.testing.assert_allclose(found.spread, seen.spread, rtol=1e-4)


EFFICIENT = {
    "one_bit_adam": lambda: jd.optimizers.one_bit_adam("dcn", 1e-2, warm_up=2),
    "zero_one_adam": lambda: jd.optimizers.zero_one_adam("dcn", 1e-2),
    "demo": lambda: jd.optimizers.demo("dcn", 1e-2),
    "distributed_lion": lambda: jd.optimizers.distributed_lion("dcn", 1e-2),
}


@pytest.mark.parametrize("name", EFFICIENT)
def test_optimizers_that_send_little(name):
    mesh, tx = make_pods(), EFFICIENT[name]()
    state, metrics = train(tx, make_params(mesh), mesh)
    wanted, _ = simulate_shards(tx, mesh)
    assert_params_close(state, wanted, 4)


RESIZED = {
    "signs": AGGREGATIONS["signs"],
    "ef21": lambda: jd.aggregate(
        "dcn", jd.rules.median(), C.ef21(C.top_k(0.2)), "scatter"
    ),
    "clipping": lambda: jd.aggregate("dcn", jd.rules.centered_clipping(0.1), SIGN),
}


@pytest.mark.parametrize("name", RESIZED)
def test_other_pods_go_on_from_a_state(name):
    """As in a simulation in which each shard is a leaf, and is resized as one."""
    tx = optax.chain(RESIZED[name](), optax.adam(1e-2))
    mesh, fewer = make_pods(4), smaller_mesh()
    state, _ = train(tx, make_params(mesh), mesh)
    state = jd.resize_training(state, tx, fewer, "dcn")
    init, step = jd.data_parallel(loss, tx, fewer, "dcn")
    assert_placed_alike(state, init(make_params(fewer)))
    state, _ = step(state, batch_of(9))
    wanted, _ = simulate_shards(tx, mesh)
    wanted = jd.resize_training(wanted, tx, 2, "dcn")
    _, step = jd.simulate(joined_loss, tx, 2, "dcn")
    wanted, _ = step(wanted, batch_of(9))
    assert_params_close(state, wanted, 2)
    with pytest.raises(
        ValueError, match="`workers` must be a mesh with 2 devices along"
    ):
        jd.resize_training(state, tx, make_pods(2), "dcn")


def smaller_mesh():
    """Return two pods of two devices."""
    return jax.make_mesh(
        *((2, 2), ("dcn", "fsdp")),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[:4],
    )


def assert_placed_alike(state, like):
    """Compare where the leaves of two states are."""
    for leaf, wanted in zip(*map(jax.tree.leaves, (state, like)), strict=True):
        assert leaf.shape == wanted.shape
        assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)


def test_narrow_residuals_are_resized():
    memory = C.error_feedback(C.top_k(0.2), residual_dtype="int8")
    tx = optax.chain(jd.aggregate("dcn", compressor=memory), optax.adam(1e-2))
    mesh = make_pods(4)
    state, _ = train(tx, make_params(mesh, GRID_OF_TWO), mesh)
    assert not jd.assert_replicas_equal(state)
    state = jd.resize_training(state, tx, smaller_mesh(), "dcn")
    init, step = jd.data_parallel(loss, tx, smaller_mesh(), "dcn")
    assert_placed_alike(state, init(make_params(smaller_mesh(), GRID_OF_TWO)))
    _, metrics = step(state, batch_of(9))
    assert np.isfinite(metrics["loss"])


GRID_OF_TWO = {"rows": P(None, "fsdp"), "columns": P("fsdp"), "bias": P("fsdp")}


def test_neighbours_need_whole_leaves():
    mixing = jd.mix_with_neighbors("dcn", jd.gossip.ring())
    tx = optax.chain(jd.per_worker("dcn", optax.sgd(0.1)), mixing)
    with pytest.raises(ValueError, match="`params` of workers that hear their neigh"):
        train(tx, make_params(make_pods(4)), make_pods(4), per_worker_params=True)
    with pytest.raises(ValueError, match="`params` of workers that hear their neigh"):
        jd.communication_report(tx, make_params(make_pods(4)), 4)
