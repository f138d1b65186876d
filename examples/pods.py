"""Train over pods: parameters sharded inside of each, compressed between them.

python examples/pods.py
python examples/pods.py --pods 4 --devices 2 --steps 400
"""

import argparse

import datasets
import jax
import model
import numpy as np
import optax
import rich.console
import rich.table
import tqdm
import training
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxdist as jd

BETWEEN, INSIDE = "dcn", "fsdp"
BATCH, LOCAL_STEPS = 128, 8


def make_mesh(pods: int, devices: int) -> jax.sharding.Mesh:
    """Return a mesh of virtual devices; XLA shards parameters over its second axis."""
    axis_types = (AxisType.Auto,) * 2
    return jax.make_mesh((pods, devices), (BETWEEN, INSIDE), axis_types=axis_types)


def shard(params, mesh):
    """Shard each leaf along its longest axis that the devices of a pod can share."""
    number = mesh.shape[INSIDE]

    def place(leaf):
        sizes = [size if size % number == 0 else 0 for size in leaf.shape]
        spec = [None] * leaf.ndim
        if any(sizes):
            spec[sizes.index(max(sizes))] = INSIDE
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))

    return jax.tree.map(place, params)


def methods() -> dict[str, dict]:
    """Return the optimizer of each run: `tx`, and `outer` where it takes rounds."""
    compression = jd.compression
    sign = compression.error_feedback(compression.scaled_sign())
    top = compression.error_feedback(compression.top_k(0.01, block_size=4096))
    signs = jd.aggregate(BETWEEN, compressor=sign, downlink=sign)
    adam = optax.adam(1e-3)
    return {
        "dense": {"tx": optax.chain(jd.aggregate(BETWEEN), adam)},
        "top-1 %": {"tx": optax.chain(jd.aggregate(BETWEEN, compressor=top), adam)},
        f"{LOCAL_STEPS} local steps": {
            "tx": adam,
            "outer": optax.chain(jd.aggregate(BETWEEN), optax.sgd(1.0)),
        },
        "the same, signs": {"tx": adam, "outer": optax.chain(signs, optax.sgd(1.0))},
    }


def bytes_of_a_step(method: dict, params, pods: int) -> float:
    """Return what leaves each device of a pod in a step."""
    tx = method.get("outer", method["tx"])
    report = jd.communication_report(tx, params, pods)
    return report.axis_nbytes[BETWEEN] / (LOCAL_STEPS if "outer" in method else 1)


def state_of_a_device(state) -> int:
    """Return the bytes of parameters and optimizer that one device holds."""
    leaves = jax.tree.leaves((state.params, state.opt_state))
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)


def train(name: str, method: dict, dataset, mesh, options) -> tuple[float, int]:
    """Return the accuracy, and the bytes of the state of a device."""
    has_rounds = "outer" in method
    init, step = jd.data_parallel(
        *(model.loss, method["tx"], mesh, BETWEEN),
        has_aux=True,
        outer=method.get("outer"),
        unroll=has_rounds,  # convolutions in a loop are slow on CPUs
    )
    state = init(shard(model.init(options.seed, dataset.train_images), mesh))
    stream = datasets.batches(dataset, BATCH, options.seed)
    size = LOCAL_STEPS if has_rounds else 1
    with tqdm.trange(options.steps // size, desc=f"{name:<18}", disable=None) as bar:
        for _ in bar:
            taken = [next(stream) for _ in range(size)]
            batch = jax.tree.map(lambda *x: np.stack(x), *taken)
            if not has_rounds:
                batch = jax.tree.map(lambda x: x[0], batch)
            state, metrics = step(state, batch)
            bar.set_postfix(loss=f"{metrics['loss']:.3f}")
    test = dataset.test_images, dataset.test_labels
    return float(model.accuracy(state.params, *test)), state_of_a_device(state)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pods", type=int, default=2)
    parser.add_argument("--devices", type=int, default=4, help="of each pod")
    parser.add_argument("--steps", type=int, default=240, help="at least 8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", help="where the files of the data set are")
    options = parser.parse_args()
    if options.pods < 2 or BATCH % options.pods or options.devices < 2:
        parser.error(
            f"`--pods` must be at least 2 and divide {BATCH}, `--devices` must be at "
            f"least 2, got {options.pods} and {options.devices}."
        )
    if options.steps < LOCAL_STEPS:
        parser.error(f"`--steps` must be at least {LOCAL_STEPS}, got {options.steps}.")
    return options


def main() -> None:
    """Train with each method, and print what leaves a pod."""
    options = parse()
    training.use_virtual_devices(options.pods * options.devices)
    dataset = datasets.load(options.data, options.data_dir)
    mesh = make_mesh(options.pods, options.devices)
    params = shard(model.init(options.seed, dataset.train_images), mesh)
    title = f"{options.pods} pods of {options.devices} devices"
    table = rich.table.Table(title=title)
    table.add_column("run", no_wrap=True)
    for heading in (
        "accuracy",
        "kB a step leave a device",
        "ratio",
        "MB of state on it",
    ):
        table.add_column(heading, justify="right")
    dense = None
    for name, method in methods().items():
        sent = bytes_of_a_step(method, params, options.pods)
        dense = sent if dense is None else dense
        accuracy, held = train(name, method, dataset, mesh, options)
        cells = f"{sent / 1e3:.2f}", f"{dense / sent:.1f}x", f"{held / 1e6:.2f}"
        table.add_row(name, f"{accuracy:.1%}", *cells)
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
