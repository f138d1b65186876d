"""One host that trains with torchft's DiLoCo over gloo.

python -m benchmarks.network.torchft_worker FOLDER INDEX ADDRESS, in the namespace
of the host, with requirements-peers.txt. Every host is a replica group of its
own; the first also runs the lighthouse, which tells them who is there.
"""

import datetime
import importlib.metadata
import pathlib
import socket
import sys

import torch
import torchft
from torch.nn.functional import cross_entropy
from torchft.coordination import LighthouseServer
from torchft.local_sgd import DiLoCo

from benchmarks.network import loop, problem, torch_worker

STORE_PORT, LIGHTHOUSE_PORT, MANAGER_PORT = 5579, 5580, 5581
TIMEOUT = datetime.timedelta(seconds=60)


def manager_of(job: problem.Job, index: int, address: str, network: torch.nn.Module):
    """Return what agrees with the other hosts on each exchange, and its store."""
    own = "127.0.0.1" if job.alone else socket.gethostbyname(socket.gethostname())
    first = own if job.alone else address
    store = torch.distributed.TCPStore(
        own, STORE_PORT, is_master=True, wait_for_workers=False
    )
    manager = torchft.Manager(
        pg=torchft.ProcessGroupGloo(timeout=TIMEOUT),
        load_state_dict=network.load_state_dict,
        state_dict=network.state_dict,
        min_replica_size=job.world,
        use_async_quorum=False,
        timeout=TIMEOUT,
        quorum_timeout=TIMEOUT,
        connect_timeout=TIMEOUT,
        rank=0,
        world_size=1,
        store_addr=own,
        store_port=STORE_PORT,
        lighthouse_addr=f"http://{first}:{LIGHTHOUSE_PORT}",
        replica_id=f"host{index}",
        port=MANAGER_PORT,
        hostname=own,
        # All start alike, and would ask each other by a name that means themselves.
        init_sync=False,
    )
    return manager, store


def main(folder: pathlib.Path, index: int, address: str) -> None:
    """Do this host's part of the job."""
    job = problem.Job.load(folder)
    loop.keep_to_own_core(index)
    torch.set_num_threads(1)
    data = loop.load(job, folder, index)
    params = problem.initial_params(job.model, data.images.shape[2:], job.seed)
    network = torch_worker.Network(params)
    lighthouse = None
    if index == 0 or job.alone:
        lighthouse = LighthouseServer(
            bind=f"0.0.0.0:{LIGHTHOUSE_PORT}", min_replicas=job.world
        )
    manager, store = manager_of(job, index, address, network)
    adam = torch.optim.Adam(network.parameters(), job.learning_rate, fused=True)
    slow = torch.optim.SGD(network.parameters(), 0.7, momentum=0.9, nesterov=True)

    def local_step(images, labels):
        adam.zero_grad()
        images, labels = torch_worker.to_torch(images, labels)
        value = cross_entropy(network(images), labels)
        value.backward()
        adam.step()  # which DiLoCo counts, and after the last exchanges
        return value.item()

    def step(images, labels):
        pairs = zip(images, labels, strict=True)
        values = [local_step(*batch) for batch in pairs]
        return sum(values) / len(values)

    def correct(images, labels):
        return torch_worker.count_correct(network, images, labels)

    diloco = DiLoCo(
        *(manager, [network], adam, slow),
        sync_every=job.local_steps,
        pin_memory=False,
        use_bucketization=True,
    )
    with diloco:
        result = {
            "phases": loop.run(job, folder, index, data, loop.Worker(step, correct))
        }
    result["num_params"] = sum(leaf.numel() for leaf in network.parameters())
    result["version"] = f"torchft {importlib.metadata.version('torchft')}"
    loop.save(result, folder, index)
    manager.shutdown(wait=False)
    del store  # which had to live until here
    if lighthouse is not None:
        lighthouse.shutdown()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
