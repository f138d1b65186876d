"""Feed given gradients to torch's PowerSGD hook, in two processes that use gloo.

python power_sgd_theirs.py FOLDER: reads problem.npz, writes theirs.npz. Runs in the
environment of requirements-peers.txt.
"""

import collections
import os
import pathlib
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

WORKERS, DENSE_STEPS = 2, 2


class Leaves(torch.nn.Module):
    """Parameters whose gradient is what it is told to be."""

    def __init__(self, shapes):
        """Make one parameter of zeros for each name and shape."""
        super().__init__()
        self.leaves = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in shapes}
        )

    def forward(self, gradients):
        """Return a loss with these gradients."""
        return sum((self.leaves[name] * gradients[name]).sum() for name in gradients)


def train(gradients, rights, rank):
    """Return what the hook makes of ``{name: [steps, ...]}``, and its seconds."""
    shapes = [(name, leaf.shape[1:]) for name, leaf in gradients.items()]
    module = Leaves(shapes)
    names = {id(leaf): name for name, leaf in module.leaves.items()}
    model = torch.nn.parallel.DistributedDataParallel(module)
    state = powerSGD_hook.PowerSGDState(
        None,
        matrix_approximation_rank=rank,
        start_powerSGD_iter=DENSE_STEPS,
        min_compression_rate=1,
        use_error_feedback=True,
        warm_start=True,
    )
    seconds = []

    def hook(state, bucket):
        if state.iter == DENSE_STEPS and bucket.index() not in state.q_memory_dict:
            start_from(rights, state, bucket, rank, names)
        start = time.perf_counter()
        future = powerSGD_hook.powerSGD_hook(state, bucket)
        future.wait()
        seconds.append(time.perf_counter() - start)
        return future

    model.register_comm_hook(state, hook)
    means = []
    steps = len(next(iter(gradients.values())))
    # What the two dense steps are given does not matter.
    for step in [0] * DENSE_STEPS + list(range(steps)):
        model.zero_grad()
        model({name: leaf[step] for name, leaf in gradients.items()}).backward()
        means.append({n: p.grad.numpy().copy() for n, p in module.leaves.items()})
    means = means[DENSE_STEPS:]
    stacked = {name: np.stack([mean[name] for mean in means]) for name in gradients}
    return stacked, seconds[DENSE_STEPS:]


def start_from(rights, state, bucket, rank, names):
    """Put a given Q where the hook keeps the Q of its last step."""
    by_shape = collections.defaultdict(list)  # the order in which the hook goes
    for parameter in bucket.parameters():
        matrix = parameter.view(parameter.shape[0], -1)
        by_shape[matrix.shape].append(names[id(parameter)])
    chosen = [(s, n) for s, group in by_shape.items() for n in group if n in rights]
    parts = [torch.tensor(rights[name]).reshape(-1) for _, name in chosen]
    state.q_memory_dict[bucket.index()] = torch.cat(parts)
    rows = sum(shape[0] for shape, _ in chosen)
    state.p_memory_dict[bucket.index()] = torch.zeros(rows * rank)


def worker(index, folder):
    """Run every case of the problem as one of the workers."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=index,
        world_size=WORKERS,
    )
    problem = np.load(folder / "problem.npz")
    cases = collections.defaultdict(dict)
    rights = collections.defaultdict(dict)
    ranks = {}
    for path in problem.files:
        case, kind, name = path.split("/")
        if kind == "gradient":
            cases[case][name] = torch.tensor(problem[path][index])
        elif kind == "right":
            rights[case][name] = problem[path]
        else:
            ranks[case] = int(problem[path])
    out = {}
    for case, gradients in cases.items():
        means, seconds = train(gradients, rights[case], ranks[case])
        out[f"{case}/seconds/all"] = np.array(seconds)
        out |= {f"{case}/mean/{name}": mean for name, mean in means.items()}
    if index == 0:
        np.savez(folder / "theirs.npz", **out)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(worker, (pathlib.Path(sys.argv[1]),), WORKERS)
