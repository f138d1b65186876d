"""What both processes run, and what their parent compares it with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

import jaxdist as jd
from tests.recipes import problem

AXIS, NUM_WORKERS, STEPS = "data", 4, 3
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
TOP = jd.compression.error_feedback(jd.compression.top_k(0.1))
TRANSFORMATIONS = {
    "dense": jd.aggregate(AXIS),
    "top_k": jd.aggregate(AXIS, jd.rules.mean(), TOP),
    "two_way": jd.aggregate(AXIS, jd.rules.mean(), SIGN, downlink=TOP),
    "random_k": jd.aggregate(AXIS, jd.rules.mean(), jd.compression.random_k(0.2)),
    "trimmed_mean": jd.aggregate(AXIS, jd.rules.trimmed_mean(1), SIGN, "scatter"),
    "krum": jd.aggregate(AXIS, jd.rules.krum(0), jd.compression.qsgd(8), "scatter"),
}
TX = optax.chain(
    jd.per_worker(AXIS, optax.trace(0.9)),
    jd.aggregate(AXIS, jd.rules.median(), SIGN),
    optax.sgd(0.1),
)


def updates():
    """Return updates ``[W, steps, ...]``."""
    rng = np.random.default_rng(0)
    shapes = {"matrix": (13, 7), "scalar": (), "vector": (40,)}
    return {
        name: rng.standard_normal((NUM_WORKERS, STEPS, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def worker(tx, sequence):
    """Return all updates of one worker, ``[steps, ...]``."""

    def step(state, gradients):
        out, state = tx.update(gradients, state)
        return state, out

    params = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), sequence)
    return jax.lax.scan(step, tx.init(params), sequence)[1]


def on_mesh(tx, mesh, check_vma):
    """Run on a mesh that spans both processes; all of them see the result."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    local = NUM_WORKERS // jax.process_count()
    start = local * jax.process_index()
    mine = jax.tree.map(lambda leaf: leaf[start : start + local], updates())
    arrays = jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), mine
    )

    def on_slice(sequence):
        return worker(tx, jax.tree.map(lambda leaf: leaf[0], sequence))

    mapped = jax.shard_map(
        on_slice,
        mesh=mesh,
        in_specs=PartitionSpec(AXIS),
        out_specs=PartitionSpec(),
        check_vma=check_vma,
    )
    return jax.jit(mapped)(arrays)


def train_on_mesh(mesh):
    """Train a few steps; each process brings its half of the batch."""
    init, step = jd.data_parallel(problem.loss, TX, mesh, AXIS)
    half = len(problem.INPUTS) // jax.process_count()
    rows = slice(half * jax.process_index(), half * (jax.process_index() + 1))
    batch = jax.tree.map(lambda leaf: leaf[rows], problem.BATCH)
    state = init(problem.PARAMS)
    for _ in range(STEPS):
        state, _ = step(state, batch)
    return state.params


def complaint_about_a_drifted_process(mesh):
    """Let the last process hold other bits; return what it and all others hear."""
    replicated = NamedSharding(mesh, PartitionSpec())
    value = np.ones(3, np.float32)
    good = jax.make_array_from_process_local_data(replicated, value)
    jd.assert_replicas_equal({"good": good})
    value = value.copy()  # the array above may use the same memory
    if jax.process_index() == jax.process_count() - 1:
        value[1] = np.nextafter(value[1], np.float32(2))
    pieces = [jax.device_put(value, device) for device in mesh.local_devices]
    bad = jax.make_array_from_single_device_arrays(value.shape, replicated, pieces)
    try:
        jd.assert_replicas_equal({"good": good, "bad": bad})
    except RuntimeError as error:
        return str(error)
    return "nothing"
