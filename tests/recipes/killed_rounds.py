"""A training in local rounds that saves after each: what is killed and started again.

`python -m tests.recipes.killed_rounds plain|stream FOLDER [ROUND]` goes on where the
last checkpoint in the folder was; at a given round it waits to be killed.
"""

import hashlib
import os
import pathlib
import sys
import time

os.environ.update(JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES="2")

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp

import jaxdist as jd
from tests.recipes import problem

AXIS, WORKERS, ROUNDS = "data", 2, 6
STREAM = {"fragments": jd.fragments.strided(2), "overlap": 1, "keep_local": 0.5}
KINDS = {"plain": {}, "stream": STREAM}


def make_recipe(kind):
    """Return init and step of rounds with memories of every kind."""
    feedback = jd.compression.error_feedback(
        jd.compression.contractive(jd.compression.random_k(0.5))
    )
    aggregation = jd.aggregate(AXIS, compressor=feedback)
    outer = jd.skip_nonfinite(
        AXIS, optax.chain(aggregation, optax.sgd(0.5, momentum=0.9))
    )
    mesh = jax.make_mesh((WORKERS,), (AXIS,))
    inner = optax.sgd(0.1, momentum=0.9)
    return jd.data_parallel(
        *(problem.loss, inner, mesh, AXIS), outer=outer, **KINDS[kind]
    )


def batches_of(index):
    """Return four batches, other ones for each round."""
    rng = np.random.default_rng(index)
    inputs = rng.standard_normal((4, 16, 10)).astype(np.float32)
    return inputs, np.sin(inputs[..., :1])


def main(kind: str, folder: str, stop: str = "-1") -> None:
    """Train, save after each round, and print a fingerprint of the state."""
    init, step = make_recipe(kind)
    state = init(problem.PARAMS)
    with ocp.CheckpointManager(pathlib.Path(folder).absolute()) as manager:
        begin = manager.latest_step() or 0
        if begin:
            state = manager.restore(begin, args=ocp.args.StandardRestore(state))
        print("from", begin, flush=True)
        for index in range(begin, ROUNDS):
            state, _ = step(state, batches_of(index))
            manager.save(index + 1, args=ocp.args.StandardSave(state))
            manager.wait_until_finished()
            if index + 1 == int(stop):
                state, _ = step(state, batches_of(index + 1))  # is lost
                print("waits", flush=True)
                time.sleep(600)
    print("bits", bits_of(state), flush=True)


def bits_of(state):
    """Return a number that any bit of the state changes."""
    leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(state)]
    return hashlib.sha256(b"".join(leaves)).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
