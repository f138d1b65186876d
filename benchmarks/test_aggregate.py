"""What `aggregate` adds to the collective that it is made of: a bare pmean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxdist as jd

WORKERS = 8
SHAPES = {
    "one leaf of 4M": [(4_000_000,)],
    "a transformer's 40 leaves, 3M": [(256, 256), (256, 1024), (256,), (1024,)] * 10,
}


def stacked(shapes):
    rng = np.random.default_rng(0)
    mesh = jax.make_mesh((WORKERS,), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    tree = [rng.standard_normal((WORKERS, *s)).astype(np.float32) for s in shapes]
    return mesh, jax.device_put(tree, sharding)


def mapped(fn, mesh):
    def worker(tree):
        return fn(jax.tree.map(lambda leaf: leaf[0], tree))

    return jax.jit(
        jax.shard_map(
            worker,
            mesh=mesh,
            in_specs=PartitionSpec("data"),
            out_specs=PartitionSpec(),
        )
    )


@pytest.mark.parametrize("name", SHAPES)
def test_bare_pmean(measure, name):
    mesh, tree = stacked(SHAPES[name])
    program = mapped(lambda tree: jax.lax.pmean(tree, "data"), mesh)
    measure(program, tree, group=f"dense mean of {name}", reference=True, rounds=60)


@pytest.mark.parametrize("name", SHAPES)
def test_aggregate(measure, name):
    mesh, tree = stacked(SHAPES[name])
    tx = jd.aggregate("data")
    state = tx.init(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), tree))
    program = mapped(lambda tree: tx.update(tree, state)[0], mesh)
    measure(program, tree, group=f"dense mean of {name}", rounds=60)
