"""Train with whole optimizers that send little: accuracy and megabytes of each.

python examples/efficient_optimizers.py
python examples/efficient_optimizers.py --workers 16 --steps 600
"""

import argparse

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.console
import rich.table
import tqdm

import jaxdist as jd

AXIS, HIDDEN, BATCH = "worker", 128, 16


def optimizers(steps: int):
    """Return an optimizer for each name, with a learning rate that falls to zero."""

    def rate(peak):
        return optax.cosine_decay_schedule(peak, steps)

    return {
        "dense Adam": optax.chain(jd.aggregate(AXIS), optax.adam(rate(4e-3))),
        "0/1 Adam": jd.optimizers.zero_one_adam(AXIS, rate(4e-3)),
        "1-bit Adam": jd.optimizers.one_bit_adam(AXIS, rate(4e-3), 1 + steps // 6),
        "LoCo": jd.optimizers.loco(AXIS, rate(4e-3)),
        "distributed Lion": jd.optimizers.distributed_lion(AXIS, rate(1e-3)),
        "DeMo": jd.optimizers.demo(AXIS, rate(2e-3)),
    }


def init_params(seed: int, inputs: int):
    """Return the weights of three dense layers."""
    keys = jax.random.split(jax.random.key(seed), 3)
    sizes = (inputs, HIDDEN, HIDDEN, 10)
    return {
        f"layer{i}": jax.random.normal(key, (n, m)) * np.sqrt(2 / n)
        for i, (key, n, m) in enumerate(zip(keys, sizes, sizes[1:], strict=False))
    }


def logits_of(params, images):
    """Return logits [n, 10]."""
    hidden = jax.nn.relu(images @ params["layer0"])
    return jax.nn.relu(hidden @ params["layer1"]) @ params["layer2"]


def loss(params, batch):
    """Return the mean cross-entropy of a batch."""
    logits = logits_of(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def megabytes_sent(tx, params, workers: int, steps: int) -> float:
    """Return what each worker sends in all steps: some send more in the first ones."""
    asked = np.unique(np.linspace(0, steps - 1, 20).astype(int))
    reports = [jd.communication_report(tx, params, workers, step=i) for i in asked]
    return np.mean([report.total_nbytes for report in reports]) * steps / 1e6


def train(name: str, tx, dataset: datasets.Dataset, options) -> tuple[float, float]:
    """Return the accuracy after training, and the megabytes that a worker sent."""
    images, tests = (
        x.reshape(len(x), -1) for x in (dataset.train_images, dataset.test_images)
    )
    params = init_params(options.seed, images.shape[1])
    sent = megabytes_sent(tx, params, options.workers, options.steps)
    init, step = jd.simulate(loss, tx, options.workers, AXIS)
    state, rng = init(params), np.random.default_rng(options.seed)
    for _ in tqdm.trange(options.steps, desc=f"{name:<18}", disable=None):
        chosen = rng.integers(len(images), size=options.workers * BATCH)
        state, _ = step(state, (images[chosen], dataset.train_labels[chosen]))
    found = jnp.argmax(logits_of(state.params, tests), axis=-1)
    return float(jnp.mean(found == dataset.test_labels)), sent


def main():
    """Train with one optimizer after the other, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in ("workers", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"`--{name}` must be at least 1")
    dataset = datasets.load("digits")
    table = rich.table.Table()
    table.add_column("optimizer", no_wrap=True)
    for heading in ("accuracy", "MB sent", "fewer"):
        table.add_column(heading, justify="right", no_wrap=True)
    dense = None
    for name, tx in optimizers(options.steps).items():
        accuracy, sent = train(name, tx, dataset, options)
        dense = sent if dense is None else dense
        fewer = f"{dense / sent:.1f}x" if sent else "-"
        table.add_row(name, f"{accuracy:.1%}", f"{sent:,.2f}", fewer)
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
