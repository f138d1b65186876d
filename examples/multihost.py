"""Train on one process or on several, and lose nothing when one of them dies.

One process, with four virtual workers:

    python examples/multihost.py --devices 4

Two processes by hand, the same command on both but for its last word:

    python examples/multihost.py --coordinator host0:1234 --processes 2 --process 0

On SLURM, on TPU pods and under Open MPI, JAX finds the others by itself:

    srun python examples/multihost.py --cluster --directory /shared/run

Start it again after anything that ended it, and it goes on where the last checkpoint
was; with more processes or fewer too. SIGTERM saves and leaves.
"""

import argparse
import traceback

import checkpoints
import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import watching

import jaxdist as jd

AXIS = "data"


def parse(arguments=None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cluster", action="store_true", help="let JAX find the other processes")
    add("--coordinator", help="host:port of process 0, which listens there")
    add("--processes", type=int, default=1, help="how many there are")
    add("--process", type=int, default=0, help="which one this is, from 0")
    add("--devices", type=int, default=1, help="virtual devices per CPU process")
    add("--directory", default="out/multihost", help="of checkpoints, seen by all")
    add("--steps", type=int, default=200)
    add("--every", type=int, default=20, help="steps from checkpoint to checkpoint")
    add("--batch-size", type=int, default=48, help="images per step, all workers'")
    add("--seed", type=int, default=0)
    add(
        "--timeout",
        type=int,
        default=60,
        help="seconds that a step or a checkpoint may take",
    )
    add("--start-timeout", type=int, default=300, help="seconds until the first step")
    options = parser.parse_args(arguments)
    by_hand = options.processes > 1 or options.process > 0
    if by_hand and not options.coordinator or options.coordinator and options.cluster:
        parser.error(
            "`--processes` and `--process` need `--coordinator`, which says where "
            "process 0 listens; `--cluster` finds all of that by itself."
        )
    return options


def connect(options: argparse.Namespace) -> None:
    """Find the other processes; nothing of JAX may run before."""
    jax.config.update("jax_num_cpu_devices", options.devices)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if not options.cluster and not options.coordinator:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    by_hand = {
        "coordinator_address": options.coordinator,
        "num_processes": options.processes,
        "process_id": options.process,
    }
    jax.distributed.initialize(
        **({} if options.cluster else by_hand),
        initialization_timeout=options.start_timeout,
        # The watchdog speaks first; this ends those that wait before the first step.
        heartbeat_timeout_seconds=2 * options.timeout,
    )


def init_params(seed: int) -> dict[str, np.ndarray]:
    """Return a network with one hidden layer, for 8 x 8 pixels and ten digits."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    return {"hidden": draw(64, 128), "logits": draw(128, 10)}


def loss(params, batch):
    """Return the loss of one worker's images, and the share that is right."""
    images, labels = batch
    hidden = jax.nn.relu(images.reshape(len(images), -1) @ params["hidden"])
    logits = hidden @ params["logits"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), {"accuracy": jnp.mean(logits.argmax(axis=1) == labels)}


def optimizer(seed: int) -> optax.GradientTransformationExtraArgs:
    """Send one element in twenty, and what was left out later."""
    compressor = jd.compression.error_feedback(jd.compression.top_k(0.05))
    chain = optax.chain(
        jd.aggregate(AXIS, compressor=compressor, key=seed), optax.adam(1e-3)
    )
    return jd.skip_nonfinite(AXIS, chain)


def train(options: argparse.Namespace, watchdog: watching.Watchdog) -> None:
    """Train from the last checkpoint to the last step."""
    workers = jax.device_count()
    if options.batch_size % workers:
        raise SystemExit(
            f"`--batch-size` must be a multiple of {workers}, the workers."
        )
    mesh = jax.make_mesh((workers,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    tx, params = optimizer(options.seed), init_params(options.seed)
    init, step = jd.data_parallel(loss, tx, mesh, AXIS, has_aux=True)
    batch_of = datasets.numbered_batches(
        datasets.load("digits"), options.batch_size, options.seed
    )
    stop = watching.Stop()
    with checkpoints.Checkpoints(options.directory) as saved:
        state, start = saved.restore(init(params), tx, mesh, AXIS)
        done = start
        while done < options.steps and not stop.is_wanted(done):
            state, metrics = step(state, share_of_process(batch_of(done)))
            done += 1
            say(f"step {done} loss {float(metrics['loss']):.6f}")
            watchdog.beat(f"step {done}")
            if done % options.every == 0:
                saved.save(state, done, workers)
                watchdog.beat(f"the start of checkpoint {done}")
        saved.save(state, done, workers)
    jd.assert_replicas_equal(state)
    words = jax.jit(jd.replica_fingerprint)(state)
    say(f"saved step {done} fingerprint {int(words[0]):08x}{int(words[1]):08x}")


def share_of_process(batch):
    """Return this process' rows of a batch that all of them know."""

    def rows(leaf):
        size = len(leaf) // jax.process_count()
        start = size * jax.process_index()
        return leaf[start : start + size]

    return jax.tree.map(rows, batch)


def say(text: str) -> None:
    """Print at once, and say who speaks."""
    print(f"[{jax.process_index()}/{jax.process_count()}] {text}", flush=True)


def main() -> None:
    """Train; when another process is gone, say so and do not wait for it."""
    options = parse()
    watchdog = watching.Watchdog(options.start_timeout, options.timeout)
    connect(options)
    try:
        train(options, watchdog)
    except Exception as error:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        watching.leave(
            f"{error}\nThis process failed, or another has died or cannot be reached. "
            f"The last checkpoint in {options.directory} is intact: start all "
            "processes again, and they go on from there."
        )


if __name__ == "__main__":
    main()
