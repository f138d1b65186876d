"""Time dense steps of `aggregate` and of a bare `lax.pmean` in turn, without a limit.

python -m benchmarks.network.in_turn --model cnn

One process per host does a step of one, then of the other, so that whatever else the
machine does is in the way of both alike.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import jax
import numpy as np

import jaxdist as jd
from benchmarks.network import jax_worker, loop, problem, run

HOSTS, WARM_UP, SECONDS = 2, 3, 200
STEPS = {"mlp": 40, "cnn": 150}
NAMES = ("bare pmean", "dense")


def measure(model: str) -> dict:
    """Return seconds by the clock and by the processor, of every step of both."""
    module = "benchmarks.network.in_turn"
    return run.on_hosts(module, {"model": model}, HOSTS, None, SECONDS)[0]


def worker(folder: pathlib.Path, index: int, address: str) -> None:
    """Do the steps as one of the hosts."""
    model = json.loads((folder / "options.json").read_text())["model"]
    job = problem.Job("jax", "dense", model, HOSTS)
    loop.keep_to_own_core(index)
    jax_worker.connect(job, index, address)
    mesh = jax.make_mesh((HOSTS,), (jax_worker.AXIS,))
    rng = np.random.default_rng(index)
    size = job.batch_size // HOSTS
    images = rng.random((size, 28, 28, 1), np.float32)
    batch = (images, rng.integers(0, 10, size).astype(np.int32))
    adam = jax_worker.optimizer(dataclasses.replace(job, method=jax_worker.BARE))
    tx = jax_worker.optimizer(job)
    recipes = {
        "bare pmean": jax_worker.bare(adam, mesh),
        "dense": jd.data_parallel(jax_worker.loss, tx, mesh, jax_worker.AXIS),
    }
    params = problem.initial_params(model, images.shape[1:], job.seed)
    states = {name: init(params) for name, (init, _) in recipes.items()}
    found = {name: {"seconds": [], "cpu_seconds": []} for name in NAMES}
    for count in range(STEPS[model]):
        for name, (_, step) in recipes.items():
            begin, cpu_begin = time.perf_counter(), time.process_time()
            states[name], metrics = step(states[name], batch)
            jax.block_until_ready((states[name], metrics))
            if count >= WARM_UP:
                found[name]["seconds"].append(time.perf_counter() - begin)
                found[name]["cpu_seconds"].append(time.process_time() - cpu_begin)
    loop.save(summary(found), folder, index)


def summary(found: dict) -> dict:
    """Return the median by the clock and by the processor, and the quickest tenth."""
    return {
        name: {
            "median_seconds": float(np.median(times["seconds"])),
            "quickest_seconds": float(np.quantile(times["seconds"], 0.1)),
            "median_cpu_seconds": float(np.median(times["cpu_seconds"])),
        }
        for name, times in found.items()
    }


def main() -> None:
    """Print what both take, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=problem.MODELS, default="cnn")
    run.require_hosts()
    print(json.dumps(measure(parser.parse_args().model), indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main()
