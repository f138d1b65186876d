"""Feed the gradients of power_sgd_theirs.py to `aggregate`, as one of two processes.

python power_sgd_ours.py FOLDER COORDINATOR INDEX: reads problem.npz, writes ours.npz.
"""

import collections
import pathlib
import sys
import time

import jax
import numpy as np
from jax.sharding import PartitionSpec

import jaxdist as jd

WORKERS, AXIS = 2, "data"


def main(folder: pathlib.Path, coordinator: str, index: int) -> None:
    """Run every case of the problem as one of the workers."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, WORKERS, index)
    problem = np.load(folder / "problem.npz")
    cases = collections.defaultdict(lambda: collections.defaultdict(dict))
    for path in problem.files:
        case, kind, name = path.split("/")
        cases[case][kind][name] = problem[path]
    out = {}
    for case, parts in cases.items():
        mine = {name: leaf[index] for name, leaf in parts["gradient"].items()}
        means, seconds = train(mine, parts["right"], int(parts["rank"]["all"]))
        out[f"{case}/seconds/all"] = np.array(seconds)
        out |= {f"{case}/mean/{name}": mean for name, mean in means.items()}
    if index == 0:
        np.savez(folder / "ours.npz", **out)


def train(gradients, rights, rank):
    """Return what `aggregate` makes of ``{name: [steps, ...]}``, and its seconds."""
    # Torch's matrix is [out, rest], ours [rest, last axis]: hand over a matrix.
    gradients = {name: _matrices(leaf) for name, leaf in gradients.items()}
    compressor = jd.compression.error_feedback(jd.compression.power_sgd(rank))
    tx = jd.aggregate(AXIS, compressor=compressor)
    mesh = jax.make_mesh((WORKERS,), (AXIS,))
    sharding = jax.NamedSharding(mesh, PartitionSpec(AXIS))
    steps = len(next(iter(gradients.values())))
    sequence = [
        {
            name: jax.make_array_from_process_local_data(sharding, leaf[step][None])
            for name, leaf in gradients.items()
        }
        for step in range(steps)
    ]
    params = {name: np.zeros_like(leaf[0]) for name, leaf in gradients.items()}
    specs = jd.state_specs(tx, params, AXIS)

    def init():
        return starting_from(rights, tx.init(params))

    def step(state, updates):
        return tx.update(jax.tree.map(lambda leaf: leaf[0], updates), state)[::-1]

    mapped = {"mesh": mesh, "out_specs": (specs, PartitionSpec())}
    init = jax.jit(jax.shard_map(init, mesh=mesh, in_specs=(), out_specs=specs))
    step = jax.jit(
        jax.shard_map(step, in_specs=(specs, PartitionSpec(AXIS)), **mapped),
    )
    jax.block_until_ready(step(init(), sequence[0]))  # compiled
    state, means, seconds = init(), [], []
    for updates in sequence:
        start = time.perf_counter()
        state, mean = jax.block_until_ready(step(state, updates))
        seconds.append(time.perf_counter() - start)
        means.append(jax.tree.map(np.asarray, mean))
    stacked = {name: np.stack([mean[name] for mean in means]) for name in gradients}
    return stacked, seconds


def starting_from(rights, state):
    """Return the state with given Q."""

    def replace(path, leaf):
        named = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
        if named[-1] != "right":
            return leaf
        (right,) = (rights[name] for name in named if name in rights)
        return right[None] + 0 * leaf

    return jax.tree.map_with_path(replace, state)


def _matrices(leaf):
    return leaf if leaf.ndim < 3 else leaf.reshape(*leaf.shape[:2], -1)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
