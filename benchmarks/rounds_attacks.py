"""Print the accuracy of local rounds of one bit, two of whose eight workers lie.

PYTHONPATH=examples python benchmarks/rounds_attacks.py

An MLP learns digits in rounds of ten local steps of AdamW. Displacements travel as
signs with error feedback and are trimmed. Test accuracies are means over seeds, with
their standard deviations; the first line is an honest dense run.
"""

import argparse

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

import jaxdist as jd

WORKERS, BYZANTINE, STEPS, ROUNDS, BATCH = 8, 2, 10, 60, 128
TRIM = jd.rules.trimmed_mean(BYZANTINE)
SIGN = jd.compression.by_leaf(
    jd.compression.error_feedback(jd.compression.scaled_sign())
)
ATTACKS = {
    "nobody lies": None,
    "sign flip, -10x": jd.attacks.sign_flip(10.0),
    "a little is enough, optimal": jd.attacks.optimal_a_little_is_enough(TRIM),
    "inner product manipulation, optimal": (
        jd.attacks.optimal_inner_product_manipulation(TRIM)
    ),
}
# Slow momentum asks for a smaller rate where one bit travels.
OUTERS = {
    "DiLoCo, 0.7 and 0.9": optax.sgd(0.7, momentum=0.9, nesterov=True),
    "0.3 and 0.9": optax.sgd(0.3, momentum=0.9, nesterov=True),
    "averages": optax.sgd(1.0),
}


def init_params(seed):
    """Return an MLP of 4,810 parameters."""
    keys = jax.random.split(jax.random.key(seed))
    return {
        "first": 0.2 * jax.random.normal(keys[0], (64, 64)),
        "first_bias": jnp.zeros(64),
        "second": 0.2 * jax.random.normal(keys[1], (64, 10)),
        "second_bias": jnp.zeros(10),
    }


def forward(params, images):
    """Return logits [n, 10]."""
    flat = images.reshape(images.shape[0], -1)
    hidden = jax.nn.relu(flat @ params["first"] + params["first_bias"][None])
    return hidden @ params["second"] + params["second_bias"][None]


def loss(params, batch):
    """Return the mean cross-entropy."""
    logits = forward(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def accuracy(aggregate, attack, slow, dataset, seed):
    """Return the test accuracy after all rounds."""
    lies = [] if attack is None else [jd.inject_attack("worker", attack, BYZANTINE)]
    init, step = jd.simulate(
        *(loss, optax.adamw(1e-3), WORKERS, "worker"),
        outer=optax.chain(*lies, aggregate, slow),
    )
    state, rng = init(init_params(seed)), np.random.default_rng(seed)
    for _ in range(ROUNDS):
        rows = rng.integers(len(dataset.train_labels), size=(STEPS, BATCH))
        state, _ = step(state, (dataset.train_images[rows], dataset.train_labels[rows]))
    said = jnp.argmax(forward(state.params, dataset.test_images), axis=-1)
    return float(jnp.mean(said == dataset.test_labels))


def main() -> None:
    """Train all of them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    dataset = datasets.load("digits")
    dense = jd.aggregate("worker")
    one_bit = jd.aggregate("worker", TRIM, SIGN)
    runs = {"dense, nobody lies": (dense, None)}
    runs |= {"dense, sign flip, -10x": (dense, ATTACKS["sign flip, -10x"])}
    runs |= {f"one bit, trimmed, {name}": (one_bit, a) for name, a in ATTACKS.items()}
    print(f"| | {' | '.join(OUTERS)} |")
    print("|---" + "|---:" * len(OUTERS) + "|")
    for name, (aggregate, attack) in tqdm.tqdm(runs.items(), disable=None):
        cells = []
        for slow in OUTERS.values():
            found = [
                100 * accuracy(aggregate, attack, slow, dataset, seed)
                for seed in range(options.seeds)
            ]
            cells.append(f"{np.mean(found):.1f} ± {np.std(found):.1f}")
        tqdm.tqdm.write(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
