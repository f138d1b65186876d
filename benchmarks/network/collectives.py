"""Measure how much of a link XLA's collectives fill, one by one.

python -m benchmarks.network.collectives --hosts 2 --rate 100mbit --megabytes 1
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import jax
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from benchmarks.network import hosts, jax_worker, loop, problem, run

AXIS, ROUNDS, SECONDS = jax_worker.AXIS, 7, 200


def collectives(num_hosts: int) -> dict:
    """Return functions of one host's vector, whose size the hosts divide."""
    ring = [(i, (i + 1) % num_hosts) for i in range(num_hosts)]

    def exchange(x):
        return lax.all_to_all(x.reshape(num_hosts, -1), AXIS, 0, 0).reshape(-1)

    return {
        "psum, float32": lambda x: lax.psum(x.view(np.float32), AXIS),
        "all_gather": lambda x: lax.all_gather(x, AXIS).reshape(-1),
        "all_to_all": exchange,
        "ppermute": lambda x: lax.ppermute(x, AXIS, ring),
    }


def worker(folder: pathlib.Path, index: int, address: str) -> None:
    """Time all of them as one of the hosts."""
    options = json.loads((folder / "options.json").read_text())
    num_hosts = options["hosts"]
    loop.keep_to_own_core(index)
    jax_worker.connect(problem.Job("jax", "dense", hosts=num_hosts), index, address)
    mesh = jax.make_mesh((num_hosts,), (AXIS,))
    sharding = jax.NamedSharding(mesh, PartitionSpec(AXIS))
    size = int(options["megabytes"] * 1e6) // (4 * num_hosts) * 4 * num_hosts
    mine = jax.make_array_from_process_local_data(sharding, np.zeros(size, np.uint8))
    found = {}
    for name, function in collectives(num_hosts).items():
        compiled = jax.jit(
            jax.shard_map(
                function,
                mesh=mesh,
                in_specs=PartitionSpec(AXIS),
                out_specs=PartitionSpec(AXIS),
                check_vma=False,
            )
        )
        jax.block_until_ready(compiled(mine))
        before, seconds = loop.counters(loop.INTERFACE), []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            jax.block_until_ready(compiled(mine))
            seconds.append(time.perf_counter() - begin)
        sent = loop.counters(loop.INTERFACE).minus(before)
        nbytes = (sent.sent_bytes - run.HEADER * sent.sent_packets) / ROUNDS
        found[name] = [nbytes, statistics.median(seconds)]
    loop.save(found, folder, index)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--rate", default="100mbit")
    parser.add_argument("--megabytes", type=float, default=1.0)
    options = parser.parse_args()
    run.require_hosts()
    module = "benchmarks.network.collectives"
    found = run.on_hosts(module, vars(options), options.hosts, options.rate, SECONDS)[0]
    rate = hosts.bits_per_second(options.rate)
    print("| collective | bytes sent | ms | of the link |\n|---|---:|---:|---:|")
    for name, (nbytes, seconds) in found.items():
        share = 8 * nbytes / seconds / rate
        print(f"| {name} | {nbytes:,.0f} | {seconds * 1e3:.1f} | {share:.0%} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main()
