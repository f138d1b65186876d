"""One host that trains with PyTorch: DistributedDataParallel over gloo, with its hooks.

python -m benchmarks.network.torch_worker FOLDER INDEX ADDRESS, in the host's namespace
and in the environment of requirements-peers.txt.
"""

import datetime
import os
import pathlib
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.distributed.algorithms.model_averaging import averagers
from torch.nn.functional import cross_entropy, relu

from benchmarks.network import loop, problem

PORT, TIMEOUT = 5578, datetime.timedelta(seconds=120)
FIRST_COMPRESSED = 2  # step: the earliest that PowerSGD with feedback allows
# One bucket: with several, the hosts start the hook's second all-reduces in different
# orders, and gloo ends with "op.preamble.length <= op.nbytes".
POWER_SGD_BUCKET = 1000  # MB
AVERAGED = "local SGD"  # parameters, after local steps


class Network(torch.nn.Module):
    """The same model, from the same parameters."""

    def __init__(self, params):
        """Make the layers from kernels in the layout of JAX."""
        super().__init__()
        self.layers = torch.nn.ModuleList(map(_layer, params.values()))

    def forward(self, images):
        """Return logits [n, 10] of images [n, channels, height, width]."""
        hidden = images
        for i, layer in enumerate(self.layers):
            if isinstance(layer, torch.nn.Linear) and hidden.ndim == 4:
                hidden = hidden.permute(0, 2, 3, 1).flatten(1)
            hidden = layer(hidden)
            hidden = hidden if i == len(self.layers) - 1 else relu(hidden)
        return hidden


def _layer(params):
    kernel, bias = (torch.tensor(params[name]) for name in ("kernel", "bias"))
    if kernel.ndim == 4:
        layer = torch.nn.Conv2d(*kernel.shape[2:], problem.KERNEL, 2, 1)
        weight = kernel.permute(3, 2, 0, 1).contiguous()
    else:
        layer = torch.nn.Linear(*kernel.shape)
        weight = kernel.T.contiguous()
    layer.weight = torch.nn.Parameter(weight)
    layer.bias = torch.nn.Parameter(bias)
    return layer


def hook(method: str):
    """Return ``(state, hook)`` of a method, or None for DDP's own all-reduce."""
    if method in ("dense", AVERAGED):
        return None
    if method == "fp16 hook":
        return None, default_hooks.fp16_compress_hook
    rank = {"PowerSGD hook, rank 1": 1, "PowerSGD hook, rank 4": 4}[method]
    state = powerSGD_hook.PowerSGDState(
        None, matrix_approximation_rank=rank, start_powerSGD_iter=FIRST_COMPRESSED
    )
    return state, powerSGD_hook.powerSGD_hook


def connect(job: problem.Job, index: int, address: str) -> None:
    """Find the other hosts; the first is at this address."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if job.alone else "eth0"
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{'127.0.0.1' if job.alone else address}:{PORT}",
        rank=0 if job.alone else index,
        world_size=job.world,
        timeout=TIMEOUT,
    )


def distributed(network: torch.nn.Module, method: str) -> torch.nn.Module:
    """Return the network whose gradients travel."""
    return torch.nn.parallel.DistributedDataParallel(
        network,
        gradient_as_bucket_view=True,
        bucket_cap_mb=POWER_SGD_BUCKET if "PowerSGD" in method else None,
    )


def to_torch(images, labels):
    """Return what the network takes."""
    images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return images, torch.from_numpy(labels).long()


@torch.no_grad()
def count_correct(network: torch.nn.Module, images, labels) -> int:
    """Return how many labels are right."""
    images, labels = to_torch(images, labels)
    return int((network(images).argmax(1) == labels).sum())


def main(folder: pathlib.Path, index: int, address: str) -> None:
    """Do this host's part of the job."""
    job = problem.Job.load(folder)
    loop.keep_to_own_core(index)
    torch.set_num_threads(1)
    data = loop.load(job, folder, index)
    connect(job, index, address)
    params = problem.initial_params(job.model, data.images.shape[2:], job.seed)
    network = Network(params)
    chosen = hook(job.method)
    model = network if job.method == AVERAGED else distributed(network, job.method)
    if chosen is not None:
        model.register_comm_hook(*chosen)
    adam = torch.optim.Adam(model.parameters(), job.learning_rate, fused=True)
    # After the last of so many steps; it counts them from 0.
    period = job.local_steps
    averager = averagers.PeriodicModelAverager(period, warmup_steps=period - 1)

    def local_step(images, labels):
        adam.zero_grad()
        images, labels = to_torch(images, labels)
        value = cross_entropy(model(images), labels)
        value.backward()
        adam.step()
        return value.item()

    def step(images, labels):
        if job.method != AVERAGED:
            return local_step(images, labels)
        values = []
        for batch in zip(images, labels, strict=True):
            values.append(local_step(*batch))
            averager.average_parameters(model.parameters())
        return sum(values) / len(values)

    def correct(images, labels):
        return count_correct(network, images, labels)

    worker = loop.Worker(step, correct)
    result = {"phases": loop.run(job, folder, index, data, worker)}
    result["num_params"] = sum(leaf.numel() for leaf in network.parameters())
    result["version"] = f"torch {torch.__version__}"
    loop.save(result, folder, index)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
