"""Measure gossip among many simulated nodes: time of a step, for each node.

PYTHONPATH=examples python benchmarks/gossip_scale.py

An all-reduce, and a product with the whole mixing matrix, take their turns in the same
run. Every step is one full training step: gradients, momentum, and messages.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import turns

import jaxdist as jd

FEW, MANY, BATCH, HIDDEN = 16, 256, 8, 64
SGD = optax.sgd(0.05, momentum=0.9)


def init_params(key):
    """Return the parameters of an MLP for digits."""
    first, second = jax.random.split(key)
    return {
        "first": 0.1 * jax.random.normal(first, (64, HIDDEN)),
        "second": 0.1 * jax.random.normal(second, (HIDDEN, 10)),
    }


def loss(params, batch):
    """Return the mean cross-entropy."""
    images, labels = batch
    logits = jax.nn.relu(images @ params["first"]) @ params["second"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def mix_by_matrix(topology, num_workers):
    """Return what gossip is in a line of NumPy: rows of all nodes times a matrix."""
    matrices = [
        jnp.asarray(topology.matrix(num_workers, phase), jnp.float32)
        for phase in range(len(topology.phases(num_workers)))
    ]
    grad = jax.vmap(jax.grad(loss))
    momentum = jax.vmap(SGD.init), jax.vmap(SGD.update)

    def init(params):
        params = jax.tree.map(lambda x: jnp.stack([x] * num_workers), params)
        return params, momentum[0](params), jnp.int32(0)

    @jax.jit
    def step(state, batch):
        params, opt_state, count = state
        images, labels = (x.reshape(num_workers, BATCH, *x.shape[1:]) for x in batch)
        updates, opt_state = momentum[1](grad(params, (images, labels)), opt_state)
        matrix = jnp.stack(matrices)[count % len(matrices)]
        params = jax.tree.map(
            lambda x, u: jnp.einsum("ij,j...->i...", matrix, x) + u, params, updates
        )
        return (params, opt_state, count + 1), ()

    return init, step


def gossip(topology, num_workers):
    """Return a simulation of nodes that hear their neighbours."""
    tx = optax.chain(
        jd.per_worker("node", SGD), jd.mix_with_neighbors("node", topology)
    )
    return jd.simulate(loss, tx, num_workers, "node", per_worker_params=True)


def all_reduce(num_workers):
    """Return a simulation of workers that all hear all."""
    tx = optax.chain(jd.aggregate("node"), SGD)
    return jd.simulate(loss, tx, num_workers, "node")


def contestants(num_workers):
    """Return what is measured, by name."""
    rows = {FEW: 4, MANY: 16}[num_workers]
    torus = jd.gossip.torus(rows, rows)
    one_peer = jd.gossip.one_peer_exponential()
    return {
        "torus": gossip(torus, num_workers),
        "torus, by a matrix": mix_by_matrix(torus, num_workers),
        "one-peer exponential": gossip(one_peer, num_workers),
        "one-peer, by a matrix": mix_by_matrix(one_peer, num_workers),
        "all-reduce": all_reduce(num_workers),
    }


def seconds_of(num_workers, rounds=12, steps=32):
    """Return the median time of a step of each, taking turns."""
    rng = np.random.default_rng(0)
    size = num_workers * BATCH
    images = jnp.asarray(rng.standard_normal((size, 64)), jnp.float32)
    batch = images, jnp.asarray(rng.integers(0, 10, size), jnp.int32)
    params = init_params(jax.random.key(0))
    return turns.median_seconds(contestants(num_workers), params, batch, rounds, steps)


def main() -> None:
    """Print the table."""
    few, many = seconds_of(FEW), seconds_of(MANY)
    print(f"| us per node and step | {FEW} nodes | {MANY} nodes | ratio |")
    print("|---|---:|---:|---:|")
    for name in few:
        each = 1e6 * few[name] / FEW, 1e6 * many[name] / MANY
        print(f"| {name} | {each[0]:.1f} | {each[1]:.1f} | {each[1] / each[0]:.2f} |")


if __name__ == "__main__":
    main()
