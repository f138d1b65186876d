"""Count steps and examples until digits are learned, by the size of the batch.

PYTHONPATH=examples python benchmarks/papers/batch_size.py

The network and the batches of eight images for each worker are those of adascale.py,
with a constant rate of 0.1 for one worker. More workers are larger batches; their rate
is W times as large, or by AdaScale. Training ends at a loss of 0.1 on all training
images, which is looked at every step. Prints the table of docs/diversity.md with means
of three seeds, "never" where one of them does not end, and the batch bound that was
measured on the way; then again with gradients of two bits, whose noise makes them more
diverse.
"""

import adascale
import datasets
import jax
import numpy as np
import optax

import jaxdist as jd

WORKERS, GOAL, MOST_EXAMPLES = (1, 2, 4, 8, 16, 32, 64), 0.1, 150_000


def optimizer(rule, workers, compressor):
    """Return the optimizer of one of the rules."""
    inner = jd.aggregate(adascale.AXIS, compressor=compressor)
    if rule == "AdaScale":
        return jd.adascale(adascale.AXIS, adascale.RATE, inner)
    return optax.chain(inner, optax.sgd(adascale.RATE * workers))


def train(rule, workers, seed, data, compressor=None):
    """Return steps until the goal, or inf, and the batch bound in the end."""
    images = data.train_images.reshape(len(data.train_labels), -1)
    tx = optimizer(rule, workers, compressor)
    init, step = jd.simulate(adascale.loss, tx, workers, adascale.AXIS)
    whole = jax.jit(adascale.loss)
    state = init(adascale.init_params(seed, images.shape[1]))
    rng, size = np.random.default_rng(seed), workers * adascale.LOCAL_BATCH
    for count in range(1, MOST_EXAMPLES // size + 1):
        chosen = rng.integers(len(images), size=size)
        state, _ = step(state, (images[chosen], data.train_labels[chosen]))
        if whole(state.params, (images, data.train_labels)) <= GOAL:
            bound = np.nan
            if rule == "AdaScale":
                seen = jd.diversity_metrics(state.opt_state)
                bound = float(seen.batch_size(adascale.LOCAL_BATCH))
            return count, bound
    return np.inf, np.nan


def cells(steps, size):
    """Return steps and examples as they stand in the table."""
    if not np.isfinite(steps):
        return "never | –"
    return f"{steps:.0f} | {steps * size:,.0f}"


def show_table(data, compressor) -> None:
    """Print the rows of all sizes."""
    print("| batch | linear: steps | examples | AdaScale: steps | examples | bound |")
    print("|---:|---:|---:|---:|---:|---:|")
    for workers in WORKERS:
        size, row = workers * adascale.LOCAL_BATCH, []
        for rule in ("linear", "AdaScale") if workers > 1 else ("linear",):
            runs = [
                train(rule, workers, seed, data, compressor) for seed in adascale.SEEDS
            ]
            steps, bounds = np.mean(runs, axis=0)
            row.append(cells(steps, size))
        last = f" {row[1]} | {bounds:.0f} |" if workers > 1 else " – | – | – |"
        print(f"| {size} | {row[0]} |{last}", flush=True)


def main() -> None:
    """Print both tables."""
    data = datasets.load("digits")
    for compressor in (None, jd.compression.qsgd(2)):
        print(f"{compressor.name if compressor else 'exact'}:\n")
        show_table(data, compressor)
        print()


if __name__ == "__main__":
    main()
