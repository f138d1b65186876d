"""One host that trains with JAX: `jaxdist` in several ways, or a bare `lax.pmean`.

python -m benchmarks.network.jax_worker FOLDER INDEX ADDRESS, in the host's namespace.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

import jaxdist as jd
from benchmarks.network import loop, problem

AXIS, PORT, TIMEOUT = "host", 5577, 60  # seconds to wait for the other hosts
WARM_UP = 2  # dense steps before PowerSGD
SIGN = jd.compression.by_leaf(
    jd.compression.error_feedback(jd.compression.scaled_sign())
)
INT8 = jd.compression.by_leaf(
    jd.compression.error_feedback(jd.compression.blockwise_int(8))
)
FLOAT16 = jd.compression.by_leaf(jd.compression.cast(jnp.float16))
BFLOAT16 = jd.compression.by_leaf(jd.compression.cast(jnp.bfloat16))
TOP = jd.compression.by_leaf(
    jd.compression.error_feedback(jd.compression.top_k(0.01, block_size=4096))
)
METHODS: dict[str, Callable[[int], optax.GradientTransformationExtraArgs]] = {
    "dense": lambda world: jd.aggregate(AXIS),
    "float16": lambda world: jd.aggregate(AXIS, compressor=FLOAT16),
    "bfloat16 both ways": lambda world: jd.aggregate(
        AXIS, compressor=BFLOAT16, downlink=BFLOAT16
    ),
    "int8 both ways": lambda world: jd.aggregate(AXIS, compressor=INT8, downlink=INT8),
    "signs both ways": lambda world: jd.aggregate(AXIS, compressor=SIGN, downlink=SIGN),
    "top-1 %": lambda world: jd.aggregate(AXIS, compressor=TOP, route=gather(world)),
    "PowerSGD, rank 1": lambda world: jd.aggregate(AXIS, compressor=power_sgd(1)),
    "PowerSGD, rank 4": lambda world: jd.aggregate(AXIS, compressor=power_sgd(4)),
    "trimmed mean of signs": lambda world: jd.aggregate(
        AXIS, jd.rules.trimmed_mean((world - 1) // 2), SIGN, gather(world)
    ),
}
SPARSE = jd.compression.by_leaf(
    jd.compression.error_feedback(
        jd.compression.quantized(
            jd.compression.top_k(64 / 4096, 4096), jd.compression.two_bit(64)
        ),
        decay=0.95,
    )
)
SLOW = optax.sgd(0.7, momentum=0.9, nesterov=True)
SIGN_BOTH_WAYS = jd.aggregate(AXIS, compressor=SIGN, downlink=SIGN)
# Local rounds: what becomes of the displacements of hosts that step on their own.
ROUNDS: dict[str, dict[str, Any]] = {
    "local SGD": {"outer": optax.chain(jd.aggregate(AXIS), optax.sgd(1.0))},
    "DiLoCo": {"outer": optax.chain(jd.aggregate(AXIS), SLOW)},
    "local SGD, signs both ways": {
        "outer": optax.chain(SIGN_BOTH_WAYS, optax.sgd(1.0))
    },
    "local SGD, signs, streaming": {
        "outer": optax.chain(SIGN_BOTH_WAYS, optax.sgd(1.0)),
        "fragments": jd.fragments.strided(2),
        "overlap": 2,
    },
    "SparseLoCo": {
        "outer": optax.chain(jd.aggregate(AXIS, compressor=SPARSE), optax.sgd(1.0))
    },
}
BARE = "bare pmean"


def gather(world: int) -> str:
    """Let a host alone do what "auto" does among several: gather what is small."""
    return "gather" if world == 1 else "auto"


def power_sgd(rank: int) -> jd.compression.StepPolicy:
    """Return PowerSGD with feedback, which begins with the third step as torch's."""
    low_rank = jd.compression.power_sgd(rank)
    stages = {0: jd.compression.identity(memory_of=low_rank), WARM_UP: low_rank}
    return jd.compression.by_step(
        {
            start: jd.compression.by_leaf(jd.compression.error_feedback(c))
            for start, c in stages.items()
        }
    )


def optimizer(job: problem.Job) -> optax.GradientTransformationExtraArgs:
    """Return the whole optimizer of a job."""
    adam = optax.adam(job.learning_rate)
    if job.method == BARE or job.method in ROUNDS:
        return adam
    return optax.chain(METHODS[job.method](job.world), adam)


def forward(params, images):
    """Return logits [n, 10] of images [n, height, width, channels]."""
    hidden = images
    for i, name in enumerate(params):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        if name.endswith("conv"):
            hidden = jax.lax.conv_general_dilated(
                hidden, kernel, (2, 2), ((1, 1), (1, 1)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
        else:
            hidden = hidden.reshape(len(hidden), -1) @ kernel
        hidden = hidden + jnp.expand_dims(bias, range(hidden.ndim - 1))
        hidden = hidden if i == len(params) - 1 else jax.nn.relu(hidden)
    return hidden


def loss(params, batch):
    """Return the mean cross-entropy of a batch."""
    images, labels = batch
    logits = forward(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
def count_correct(params, images, labels):
    """Return how many labels are right."""
    return jnp.sum(jnp.argmax(forward(params, images), axis=-1) == labels)


def bare(tx, mesh):
    """Return ``(init, step)`` as one would write them without a library."""

    def worker(state, batch):
        own = jax.lax.pcast(state.params, AXIS, to="varying")
        value, grads = jax.value_and_grad(loss)(own, batch)
        value, grads = jax.lax.pmean((value, grads), AXIS)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return jd.TrainState(params, opt_state), {"loss": value}

    mapped = jax.shard_map(
        worker,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
    )
    run = jax.jit(mapped, donate_argnums=0)
    sharding = jax.NamedSharding(mesh, PartitionSpec(AXIS))

    def init(params):
        everywhere = jax.NamedSharding(mesh, PartitionSpec())
        make = jax.jit(
            lambda params: jd.TrainState(params, tx.init(params)),
            out_shardings=everywhere,
        )
        return make(params)

    def step(state, batch):
        return run(
            state,
            jax.tree.map(
                lambda x: jax.make_array_from_process_local_data(sharding, x), batch
            ),
        )

    return init, step


def connect(job: problem.Job, index: int, address: str) -> None:
    """Find the other hosts; the first is at this address."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if job.world > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"{address}:{PORT}", job.world, index, initialization_timeout=TIMEOUT
        )


def reported_bytes(job: problem.Job, params: Any) -> float | None:
    """Return what the report says that a host sends in a step, as a mean."""
    if job.method == BARE:
        return None
    options = ROUNDS.get(job.method)
    if options is None:
        tx = optimizer(job)
        return jd.communication_report(tx, params, job.world, step=WARM_UP).total_nbytes
    parts = options["fragments"].split(params) if "fragments" in options else [params]
    is_overlapped = "overlap" in options
    reports = [
        jd.communication_report(options["outer"], x, job.world, overlap=is_overlapped)
        for x in parts
    ]
    return sum(report.total_nbytes for report in reports) / job.local_steps


def main(folder: pathlib.Path, index: int, address: str) -> None:
    """Do this host's part of the job."""
    job = problem.Job.load(folder)
    loop.keep_to_own_core(index)
    data = loop.load(job, folder, index)
    connect(job, index, address)
    params = problem.initial_params(job.model, data.images.shape[2:], job.seed)
    tx = optimizer(job)
    mesh = jax.make_mesh((job.world,), (AXIS,))
    options = dict(ROUNDS.get(job.method, {}))
    if options and job.model == "cnn":
        options["unroll"] = True  # convolutions in a loop are slow on CPUs
    if job.method == BARE:
        init, train_step = bare(tx, mesh)
    else:
        init, train_step = jd.data_parallel(loss, tx, mesh, AXIS, **options)
    state = init(params)

    def step(images, labels):
        nonlocal state
        state, metrics = train_step(state, (images, labels))
        return float(jax.block_until_ready((state, metrics))[1]["loss"])

    def correct(images, labels):
        mine = jax.tree.map(lambda leaf: leaf.addressable_data(0), state.params)
        return int(count_correct(mine, images, labels))

    worker = loop.Worker(step, correct)
    result: dict[str, Any] = {"phases": loop.run(job, folder, index, data, worker)}
    result["reported_bytes"] = reported_bytes(job, params)
    result["num_params"] = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    result["version"] = f"jax {jax.__version__}, jaxdist {jd.__version__}"
    loop.save(result, folder, index)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
