"""What it costs to send gradients one step late: loss and accuracy on digits.

PYTHONPATH=examples python benchmarks/late.py

Eight workers with 16 images each take 320 steps with a cosine. Each optimizer has the
best of three rates with the first seed. Prints the table of docs/pods.md: means of the
seeds and their standard deviations.
"""

import argparse

import datasets
import jax
import jax.numpy as jnp
import mlp
import numpy as np
import optax

import jaxdist as jd

AXIS, WORKERS, BATCH, STEPS = "data", 8, 128, 320
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
OPTIMIZERS = {
    "SGD, momentum 0.9": (lambda rate: optax.sgd(rate, 0.9), (0.03, 0.1, 0.3)),
    "Adam": (optax.adam, (0.001, 0.003, 0.01)),
}
EXCHANGES = {
    "dense": lambda: jd.aggregate(AXIS),
    "signs both ways": lambda: jd.aggregate(AXIS, compressor=SIGN, downlink=SIGN),
}


def train(make, exchange, is_late, rate, seed, data):
    """Return the mean loss of the training images, and the accuracy on the others."""
    late = [jd.per_worker(AXIS, jd.delay_updates(1))] if is_late else []
    schedule = optax.cosine_decay_schedule(rate, STEPS)
    tx = optax.chain(*late, EXCHANGES[exchange](), make(schedule))
    init, step = jd.simulate(mlp.loss, tx, WORKERS, AXIS)
    images = data.train_images.reshape(len(data.train_labels), -1)
    state = init(mlp.init(seed, images.shape[1]))
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        chosen = rng.integers(len(images), size=BATCH)
        state, _ = step(state, (images[chosen], data.train_labels[chosen]))
    tests = data.test_images.reshape(len(data.test_labels), -1)
    seen = jnp.argmax(mlp.logits_of(state.params, tests), axis=1)
    accuracy = 100 * jnp.mean(seen == data.test_labels)
    return float(mlp.loss(state.params, (images, data.train_labels))), float(accuracy)


def spread(values):
    """Return a mean with its standard deviation."""
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.1g}"


def main() -> None:
    """Train all and print a row for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    data = datasets.load("digits")
    print("| optimizer | exchange | sent | loss | test accuracy | rate |")
    print("|---|---|---|---:|---:|---:|")
    for name, (make, rates) in OPTIMIZERS.items():
        for exchange in EXCHANGES:
            for is_late in (False, True):
                args = make, exchange, is_late
                found = {rate: train(*args, rate, seeds[0], data) for rate in rates}
                best = min(rates, key=lambda rate: found[rate][0])
                runs = [found[best]]
                runs += [train(*args, best, seed, data) for seed in seeds[1:]]
                losses, accuracies = zip(*runs, strict=True)
                sent = "one step late" if is_late else "at once"
                cells = name, exchange, sent, spread(losses), spread(accuracies), best
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
                jax.clear_caches()


if __name__ == "__main__":
    main()
