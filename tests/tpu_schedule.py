"""What a TPU would do, compiled ahead of time on a CPU; prints facts as JSON.

`python -m tests.tpu_schedule`, where libtpu is installed. Nothing runs: this proves
schedules, not speed.
"""

import json
import os
import re

os.environ.update(
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-16",
    TPU_WORKER_HOSTNAMES="localhost",
    JAX_PLATFORMS="cpu",
)

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxdist as jd
from tests import harness

AXIS = "data"
NUM_WORKERS = 16
SIZE = 512
COLLECTIVE = re.compile(r" (all-reduce|all-gather|all-to-all|collective-permute)")


def make_mesh():
    """Return a mesh of chips that are not there."""
    chips = topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4")
    return Mesh(np.array(chips.devices).reshape(NUM_WORKERS), (AXIS,))


def loss(params, batch):
    """Return the error of a network with two matrices."""
    inputs, targets = batch
    return jnp.mean((jnp.tanh(inputs @ params["a"]) @ params["b"] - targets) ** 2)


def compiled(worker, *shapes):
    """Return the scheduled program of one worker; arguments are ``[W, ...]``."""
    mesh = make_mesh()
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def on_slices(*args):
        out = worker(*jax.tree.map(lambda leaf: leaf[0], args))
        return jax.tree.map(lambda leaf: leaf[None], out)

    arguments = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(
            (NUM_WORKERS, *s), jnp.float32, sharding=sharding
        ),
        shapes,
        is_leaf=lambda s: isinstance(s, tuple) and all(isinstance(n, int) for n in s),
    )
    specs = PartitionSpec(AXIS)
    mapped = jax.shard_map(on_slices, mesh=mesh, in_specs=specs, out_specs=specs)
    return jax.jit(mapped).lower(*arguments).compile().as_text()


PARAMS = {"a": (SIZE, SIZE), "b": (SIZE, SIZE)}


def blocks_of(text):
    """Return the computations of a program by name."""
    blocks = re.split(r"\n(?=%?[\w.-]+ \(|ENTRY)", text)
    return {re.match(r"(?:ENTRY )?%?([\w.-]+)", b).group(1): b for b in blocks}


def gossip_order(order):
    """Return what happens in a step with neighbours, in the order of the schedule."""
    tx = optax.chain(
        optax.sgd(0.1), jd.mix_with_neighbors(AXIS, jd.gossip.ring(), order=order)
    )

    def worker(params, inputs, targets):
        batch = inputs, targets
        gradients = jd.value_and_grad(loss, AXIS)(params, batch)[1]
        updates, _ = tx.update(gradients, tx.init(params), params)
        return jax.tree.map(jnp.add, params, updates)

    text = compiled(worker, PARAMS, (64, SIZE), (64, SIZE))
    blocks = blocks_of(text)
    entry = text[text.index("\nENTRY") :]
    events = []
    for line in entry.splitlines():
        if found := re.search(r" collective-permute-(start|done)\(", line):
            events.append(found.group(1))
        called = re.search(r"calls=%?([\w.-]+)", line)
        body = blocks.get(called.group(1), "") if called else line
        if " convolution(" in body or " dot(" in body:
            events.append("matmul")
    return events


def bucket_order(num_buckets):
    """Return matmuls, starts and ends of exchanges of a step, in scheduled order."""
    tx = jd.aggregate(AXIS, route="scatter", buckets=num_buckets)
    depth = 6

    def deep_loss(params, batch):
        hidden, targets = batch
        for i in range(depth):
            hidden = jnp.tanh(hidden @ params[f"layer_{i}"])
        return jnp.mean((hidden - targets) ** 2)

    def worker(params, inputs, targets):
        gradients = jd.value_and_grad(deep_loss, AXIS)(params, (inputs, targets))[1]
        updates, _ = tx.update(gradients, tx.init(params), params)
        updates = jax.lax.pcast(updates, AXIS, to="varying")
        return jax.tree.map(jnp.subtract, params, updates)

    layers = {f"layer_{i}": (SIZE, SIZE) for i in range(depth)}
    text = compiled(worker, layers, (256, SIZE), (256, SIZE))
    blocks = blocks_of(text)
    events = []
    for line in text[text.index("\nENTRY") :].splitlines():
        called = re.search(r"calls=%?([\w.-]+)", line)
        body = blocks.get(called.group(1), "") if called else line
        if " convolution(" in body or " dot(" in body:
            events.append("matmul")
        elif event := event_of(line):
            events.append(event)
    return events


def collectives_of_a_round():
    """Return the collectives inside of loops, and how many there are in all."""
    outer = optax.chain(jd.aggregate(AXIS), optax.sgd(0.7, momentum=0.9))
    init, step = jd.local_round(loss, optax.sgd(0.1), outer, AXIS)

    def worker(inputs, targets):
        start = {name: jnp.full(shape, 0.01) for name, shape in PARAMS.items()}
        state, _ = step(init(start), (inputs, targets))
        return jax.lax.pcast(state.params, AXIS, to="varying")

    text = compiled(worker, (5, 64, SIZE), (5, 64, SIZE))
    blocks = blocks_of(text)
    bodies = re.findall(r"body=%?([\w.-]+)", text)
    inside = [COLLECTIVE.findall(blocks[name]) for name in bodies]
    return {
        "loops": len(bodies),
        "inside": sum(inside, []),
        "all": len(COLLECTIVE.findall(text)),
    }


def streaming_order(route, size):
    """Return starts, loops and ends of a round that streams, in scheduled order.

    The compiler hides a large message, but does not care for a small one.
    """
    outer = optax.chain(jd.aggregate(AXIS, route=route), optax.sgd(0.7))
    stream = dict(outer=outer, fragments=jd.fragments.strided(2), overlap=3)
    init, _ = jd.simulate(loss, optax.sgd(0.1), NUM_WORKERS, AXIS, **stream)
    mesh = make_mesh()
    _, step = jd.data_parallel(loss, optax.sgd(0.1), mesh, AXIS, **stream)
    matrix = jax.ShapeDtypeStruct((size, size), jnp.float32)
    state = jax.eval_shape(init, dict.fromkeys(PARAMS, matrix))
    specs = step.training._specs(state.params, state.opt_state)
    state = jax.tree.map(
        lambda spec, part: jax.tree.map(
            lambda x: on_mesh(mesh, spec, x.shape, x.dtype), part
        ),
        specs,
        state,
        is_leaf=lambda node: isinstance(node, PartitionSpec),
    )
    whole = (12, 64 * NUM_WORKERS, size)
    batch = on_mesh(mesh, PartitionSpec(None, AXIS), whole, jnp.float32)
    text = step.lower(state, (batch, batch)).compile().as_text()
    lines = text[text.index("\nENTRY") :].splitlines()
    return [event for event in map(event_of, lines) if event]


def pod_bytes(num_inside, devices):
    """Return what a device sends to other pods, in the program and in the report."""
    chips = np.asarray(devices).reshape(-1, num_inside)
    mesh = Mesh(chips, ("dcn", "fsdp"))
    sign = jd.compression.error_feedback(jd.compression.scaled_sign())
    tx = jd.aggregate("dcn", compressor=sign, downlink=sign)

    def device(gradients):
        own = jax.tree.map(lambda leaf: leaf[0], gradients)
        return tx.update(own, tx.init(own))[0]

    spec = PartitionSpec("dcn", "fsdp")
    shapes = {name: (len(chips), *shape) for name, shape in PARAMS.items()}
    gradients = {k: on_mesh(mesh, spec, v, jnp.float32) for k, v in shapes.items()}
    mapped = jax.shard_map(
        device, mesh=mesh, in_specs=spec, out_specs=PartitionSpec("fsdp")
    )
    text = jax.jit(mapped).lower(gradients).compile().as_text()
    shards = {
        name: jax.ShapeDtypeStruct((rows // num_inside, columns), jnp.float32)
        for name, (rows, columns) in PARAMS.items()
    }
    sent = harness.bytes_sent(harness.leaving(text, num_inside), len(chips))
    report = jd.communication_report(tx, shards, len(chips))
    return sent, report.total_nbytes


def on_mesh(mesh, spec, shape, dtype):
    """Return an array of this shape that is spread over chips that are not there."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))


def event_of(line):
    """Return what begins or ends in a line of a schedule, or None."""
    if " while(" in line:
        return "loop"
    if found := re.search(r"%async-collective-(start|done)[.\d]* =", line):
        return found.group(1)
    found = re.search(r" (all-reduce|all-gather|all-to-all)(?:-(start|done))?\(", line)
    return found and (found.group(2) or found.group(1))


def main():
    """Print all facts."""
    orders = ("combine_then_adapt", "adapt_then_combine")
    facts = {order: gossip_order(order) for order in orders}
    facts["round"] = collectives_of_a_round()
    facts["buckets"] = {number: bucket_order(number) for number in (1, 3)}
    facts["pods"] = {
        number: pod_bytes(number, make_mesh().devices) for number in (2, 4, 8)
    }
    # A gathered message of a megabyte takes a minute to compile.
    for route, size in (
        ("auto", 512),
        ("gather", 128),
        ("scatter", 512),
        ("psum", 512),
    ):
        facts[f"stream {route}"] = streaming_order(route, size)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
