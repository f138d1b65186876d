"""Print the accuracy of honest nodes, some of whose neighbours are Byzantine.

PYTHONPATH=examples python benchmarks/bridge.py

Twenty nodes hold 50 digits each and train a linear classifier by full gradients, with
steps of 20 / (20 + t). Each hears the four nodes on each side of it. Two nodes next to
each other tell each neighbour something else than their parameters. Each cell has the
test accuracy of the honest nodes, on average, and of the worst of them; both are means
over seeds.
"""

import argparse

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

import jaxdist as jd

NODES, BYZANTINE, IMAGES, STEPS = 20, 2, 50, 100
NEAR, WIDE = jd.gossip.circulant(1, 2, 3, 4), jd.gossip.circulant(1, 2, 3, 4, 5)
METHODS = {
    "mixing, no rule": (NEAR, None),
    "BRIDGE-T, `trimmed_mean(2)`": (NEAR, jd.rules.trimmed_mean(2)),
    "BRIDGE-M, `median()`": (NEAR, jd.rules.median()),
    "BRIDGE-K, `krum(2)`": (NEAR, jd.rules.krum(2)),
    "BRIDGE-B, `bulyan(2)`, ten neighbours": (WIDE, jd.rules.bulyan(2)),
    "`geometric_median()`": (NEAR, jd.rules.geometric_median()),
    "`monna(2)`": (NEAR, jd.rules.monna(2)),
    "`clipping(0.1, then=mean())`": (
        NEAR,
        jd.rules.clipping(0.1, then=jd.rules.mean()),
    ),
}


def uniform(key, shape):
    """Draw from (-1, 0), as in the experiments of BRIDGE."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=0.0)


def normal(key, shape):
    """Draw with a standard deviation of 10."""
    return 10 * jax.random.normal(key, shape)


ATTACKS = {"nobody lies": None, "U(-1, 0)": uniform, "N(0, 10²)": normal}


def corruption(draw):
    """Return what the first nodes say, something else to each neighbour."""
    if draw is None:
        return None

    def corrupt(params, sender, receiver, key):
        del receiver  # the key is that of sender and receiver
        return jnp.where(sender < BYZANTINE, draw(key, params.shape), params)

    return corrupt


def loss(weights, batch):
    """Return the regularized cross-entropy of a linear classifier."""
    images, labels = batch
    losses = optax.softmax_cross_entropy_with_integer_labels(images @ weights, labels)
    return losses.mean() + 5e-4 * jnp.sum(weights**2)


def rows(images):
    """Return images as rows, each with a constant."""
    flat = images.reshape(len(images), -1)
    return np.concatenate([flat, np.ones_like(flat[:, :1])], axis=1)


def accuracies(method, draw, dataset, seeds):
    """Train; return the test accuracies of the honest nodes, ``[seeds, nodes]``."""
    topology, rule = METHODS[method]
    tx = optax.chain(
        optax.sgd(lambda count: 20 / (20 + count)),
        jd.mix_with_neighbors("node", topology, rule=rule, corrupt=corruption(draw)),
    )
    init, step = jd.simulate(loss, tx, NODES, "node", per_worker_params=True)
    tests, found = rows(dataset.test_images), []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(dataset.train_labels))
        chosen = order[: NODES * IMAGES]
        batch = rows(dataset.train_images[chosen]), dataset.train_labels[chosen]
        state = init(jnp.zeros((batch[0].shape[1], 10)))
        for _ in range(STEPS):
            state, _ = step(state, batch)
        said = np.argmax(tests @ np.asarray(state.params), axis=-1)
        right = said == dataset.test_labels
        found.append(right.mean(axis=1)[BYZANTINE:])
    return np.array(found)


def main(arguments=None) -> None:
    """Train all of them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args(arguments)
    dataset = datasets.load("digits")
    print(f"| | {' | '.join(ATTACKS)} |")
    print("|---" * (len(ATTACKS) + 1) + "|")
    for method in tqdm.tqdm(METHODS, disable=None):
        cells = []
        for draw in ATTACKS.values():
            found = accuracies(method, draw, dataset, options.seeds)
            cells.append(f"{found.mean():.3f}, {found.min(axis=1).mean():.3f}")
        tqdm.tqdm.write(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
