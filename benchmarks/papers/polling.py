"""Poll some of 40 workers: representatives and chance, in one step and in training.

python benchmarks/papers/polling.py out/polling.png

Each worker holds 35 of scikit-learn's digits, shuffled or sorted by label; a softmax
regression has taken 10 steps or 300. A server hears k workers and estimates the mean
gradient of all: representatives by the distances between the gradients of the same
step, or of ten steps before, with weights; or k drawn at random (200 draws) with equal
weights. Five seeds. Then it trains with what it hears: k = 8 drawn in each step, or 8
representatives, for which all are heard every 25 steps. Prints the tables of
docs/representatives.md, and draws its picture.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pictures
from sklearn import datasets

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WORKERS, EXAMPLES, LATE = 40, 35, 10
DRAWS, SEEDS = 200, range(5)
POLLED, REFRESH, BUDGET = 8, 25, 4000  # workers, steps, gradients that are heard
RATES = (0.5, 2.0, 5.0, 10.0)
COLORS = {"all": "#7f7f7f", "random": "#d62728", "representatives": "#1f77b4"}


def loss(weights, batch):
    """Return the mean cross-entropy of a softmax regression."""
    logits = batch[0] @ weights
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


@functools.cache
def worker_batches(seed, is_sorted):
    """Return images [W, n, 64] and labels [W, n] of the workers."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(seed + 1).permutation(len(labels))
    order = order[: WORKERS * EXAMPLES]
    if is_sorted:
        order = order[np.argsort(labels[order], kind="stable")]
    shape = WORKERS, EXAMPLES
    images = (pixels[order] / 16).astype(np.float32).reshape(*shape, -1)
    return jnp.asarray(images), jnp.asarray(labels[order].reshape(shape))


def first_weights(seed):
    """Return weights that training starts from."""
    return 0.01 * jax.random.normal(jax.random.key(seed), (64, 10))


@jax.jit
def gradients_of_workers(weights, batches):
    """Return the gradients [W, n] of all workers."""
    found = jax.vmap(jax.grad(loss), (None, 0))(weights, batches)
    return found.reshape(WORKERS, -1)


@functools.partial(jax.jit, static_argnames="steps")
def train(weights, batches, steps):
    """Return weights after steps of gradient descent."""

    def step(_, weights):
        gradient = gradients_of_workers(weights, batches).mean(axis=0)
        return weights - 0.5 * gradient.reshape(weights.shape)

    return jax.lax.fori_loop(0, steps, step, weights)


@functools.partial(jax.jit, static_argnames="num")
def representative_shares(rows, num):
    """Return the share of each worker [W] in the estimate."""
    distances = jnp.sqrt(jd.rules.Geometry.of(rows).squared_distances)
    found = jd.contrib.representatives(distances, num)
    return jnp.zeros(WORKERS).at[found.indices].add(found.weights / WORKERS)


def random_shares(rng, num):
    """Return equal shares [W] of a few workers."""
    shares = np.zeros(WORKERS, np.float32)
    shares[rng.choice(WORKERS, num, replace=False)] = 1 / num
    return shares


def relative_error(shares, rows):
    """Return how far an estimate is from the mean of all."""
    mean = rows.mean(axis=0)
    return float(np.linalg.norm(shares @ rows - mean) / np.linalg.norm(mean))


@functools.cache
def gradients_of_step(seed, is_sorted, steps):
    """Return the gradients of a step, and of ten steps before."""
    batches = worker_batches(seed, is_sorted)
    before = train(first_weights(seed), batches, steps - LATE)
    now = train(before, batches, LATE)
    return tuple(np.asarray(gradients_of_workers(w, batches)) for w in (now, before))


def polling_errors(seed, is_sorted, steps, num) -> dict[str, float]:
    """Return the errors of all ways to poll so many workers."""
    rows, old = gradients_of_step(seed, is_sorted, steps)
    rng = np.random.default_rng(seed)
    drawn = [relative_error(random_shares(rng, num), rows) for _ in range(DRAWS)]
    return {
        "random": float(np.mean(drawn)),
        "this step": relative_error(np.asarray(representative_shares(rows, num)), rows),
        "before": relative_error(np.asarray(representative_shares(old, num)), rows),
    }


def show_errors():
    """Print the first table."""
    print("| data | step | k | random | distances of this step | ten steps before |")
    print("|---|---:|---:|---:|---:|---:|")
    for is_sorted in (False, True):
        for steps in (10, 300):
            for num in (8, 16):
                runs = [polling_errors(s, is_sorted, steps, num) for s in SEEDS]
                cells = " | ".join(
                    f"{np.mean([run[name] for run in runs]):.2f} ± "
                    f"{np.std([run[name] for run in runs]):.2f}"
                    for name in runs[0]
                )
                data = "sorted" if is_sorted else "shuffled"
                print(f"| {data} | {steps} | {num} | {cells} |", flush=True)


@jax.jit
def weighted_step(weights, batches, shares, rate):
    """Return weights after a step, and the loss of all workers before it."""
    gradient = shares @ gradients_of_workers(weights, batches)
    losses = jax.vmap(loss, (None, 0))(weights, batches)
    return weights - rate * gradient.reshape(weights.shape), losses.mean()


def train_polled(kind, rate, seed):
    """Return gradients heard and losses, step by step, of sorted data."""
    batches, rng = worker_batches(seed, True), np.random.default_rng(seed)
    weights, everybody = first_weights(seed), np.full(WORKERS, 1 / WORKERS, np.float32)
    heard, curve, chosen, count = 0, [], everybody, 0
    while heard < BUDGET:
        hears_all = kind == "all" or (kind != "random" and count % REFRESH == 0)
        if hears_all and kind != "all":
            rows = gradients_of_workers(weights, batches)
            chosen = representative_shares(rows, POLLED)
        shares = random_shares(rng, POLLED) if kind == "random" else chosen
        shares = everybody if hears_all else shares
        weights, value = weighted_step(weights, batches, shares, rate)
        curve.append((heard, float(value)))
        heard += WORKERS if hears_all else POLLED
        count += 1
    return np.array(curve).T


def show_training():
    """Print the second table; return curves of one rate."""
    print(f"\n| rate | {' | '.join(COLORS)} |")
    print("|---:|---:|---:|---:|")
    curves = {}
    for rate in RATES:
        cells = []
        for kind in COLORS:
            runs = [train_polled(kind, rate, seed) for seed in SEEDS]
            curves[kind, rate] = runs
            last = [losses[-1] for _, losses in runs]
            cells.append(f"{np.mean(last):.3f} ± {np.std(last):.3f}")
        print(f"| {rate:g} | {' | '.join(cells)} |", flush=True)
    return curves


def save_figure(curves, path, rate=2.0):
    """Draw errors of one step against k, and training."""
    figure, (errors, losses) = plt.subplots(1, 2, figsize=(10, 4))
    numbers = (2, 4, 6, 8, 10, 12, 16, 20, 24, 30, 36)
    for name, kind in (("random", "random"), ("this step", "representatives")):
        for is_sorted, style in ((True, "o-"), (False, "o:")):
            found = [
                np.mean([polling_errors(s, is_sorted, 10, k)[name] for s in SEEDS])
                for k in numbers
            ]
            label = f"{kind}, {'sorted' if is_sorted else 'shuffled'} data"
            errors.plot(numbers, found, style, color=COLORS[kind], label=label, ms=4)
    errors.set(yscale="log", xlabel="workers that are heard, of 40", ylim=(0.02, 60))
    errors.set(ylabel="relative error of the mean gradient", title="One step")
    for kind, color in COLORS.items():
        for index, (heard, values) in enumerate(curves[kind, rate]):
            label = kind if index == 0 else None
            losses.plot(heard, values, color=color, alpha=0.6, label=label)
    losses.set(yscale="log", xlabel="gradients that the server has heard")
    losses.set(ylabel="training loss", title="Training, sorted data, 8 in a step")
    for panel in (errors, losses):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    pictures.save(figure, path)


def main():
    """Poll, train and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    show_errors()
    save_figure(show_training(), options.out)


if __name__ == "__main__":
    main()
