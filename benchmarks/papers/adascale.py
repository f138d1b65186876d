"""Train W workers with a schedule of one: AdaScale, linear and square-root scaling.

PYTHONPATH=examples python benchmarks/papers/adascale.py out/diversity.png

A network of 64 hidden units learns scikit-learn's digits; each worker takes eight
images a step. The rate is a cosine from 0.1 to 0 over 2000 steps, tuned for no rule and
no number of workers. Linear and square-root scaling take W times fewer steps with a
rate W and sqrt(W) times as large; AdaScale stops when its progress is 2000. Without
warm-up, for none of them. Prints a table, and draws the picture of docs/diversity.md.
"""

import argparse
import math
import pathlib
from typing import NamedTuple

import datasets
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pictures
import tqdm

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

AXIS, HIDDEN, LOCAL_BATCH, RATE, STEPS = "data", 64, 8, 0.1, 2000
WORKERS, SEEDS = (4, 16, 64), range(3)
RULES = ("linear", "square root", "AdaScale")
COLORS = {"linear": "#d62728", "square root": "#ff7f0e", "AdaScale": "#1f77b4"}


class Result(NamedTuple):
    """What a run reached."""

    steps: int
    loss: float  # of all training images
    accuracy: float  # of the test images
    progress: list[float]  # of each step, in steps of one worker
    gain: list[float]  # of each step


def init_params(seed, inputs):
    """Return the weights of two dense layers."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "in": jax.random.normal(first, (inputs, HIDDEN)) * math.sqrt(2 / inputs),
        "bias": jnp.zeros(HIDDEN),
        "out": jax.random.normal(second, (HIDDEN, 10)) / math.sqrt(HIDDEN),
    }


def logits_of(params, images):
    """Return logits [n, 10]."""
    return jax.nn.relu(images @ params["in"] + params["bias"]) @ params["out"]


def loss(params, batch):
    """Return the mean cross-entropy of a batch."""
    logits = logits_of(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def optimizer(rule, workers):
    """Return the optimizer, and the most steps that it may take."""
    if rule == "AdaScale":
        schedule = optax.cosine_decay_schedule(RATE, STEPS)
        return jd.adascale(AXIS, schedule, jd.aggregate(AXIS)), STEPS
    steps = -(-STEPS // workers)
    scale = {"linear": workers, "square root": math.sqrt(workers), "one": 1}[rule]
    schedule = optax.cosine_decay_schedule(RATE * scale, steps)
    return optax.chain(jd.aggregate(AXIS), optax.sgd(schedule)), steps


def train(rule, workers, seed, dataset) -> Result:
    """Train until the schedule ends."""
    images, tests = (
        x.reshape(len(x), -1) for x in (dataset.train_images, dataset.test_images)
    )
    tx, most_steps = optimizer(rule, workers)
    init, step = jd.simulate(loss, tx, workers, AXIS)
    state, rng = init(init_params(seed, images.shape[1])), np.random.default_rng(seed)
    progress, gain = [], []
    for _ in range(most_steps):
        chosen = rng.integers(len(images), size=workers * LOCAL_BATCH)
        state, _ = step(state, (images[chosen], dataset.train_labels[chosen]))
        if rule == "AdaScale":
            progress.append(float(state.opt_state.progress))
            gain.append(float(jd.diversity_metrics(state.opt_state).gain))
            if progress[-1] >= STEPS:
                break
    labels = jnp.argmax(logits_of(state.params, tests), axis=1)
    accuracy = float(jnp.mean(labels == dataset.test_labels))
    whole = float(loss(state.params, (images, dataset.train_labels)))
    return Result(len(gain) or most_steps, whole, accuracy, progress, gain)


def show_table(results) -> None:
    """Print means over the seeds."""
    print("| workers | rule | steps | train loss | test accuracy |")
    print("|---:|---|---:|---:|---:|")
    for (rule, workers), runs in results.items():
        steps, losses, accuracies = (
            np.mean([getattr(run, what) for run in runs])
            for what in ("steps", "loss", "accuracy")
        )
        row = f"| {workers} | {rule} | {steps:.0f} | {losses:.3f} "
        print(row + f"| {accuracies:.1%} |".replace("%", " %"))


def save_figure(results, path) -> None:
    """Draw the losses of all rules, and the gain during training."""
    figure, (losses, gains) = plt.subplots(1, 2, figsize=(10, 4))
    alone = [run.loss for run in results["one", 1]]
    losses.axhline(np.mean(alone), color="black", linestyle=":", label="one worker")
    for rule in RULES:
        runs = [[run.loss for run in results[rule, w]] for w in WORKERS]
        losses.plot(WORKERS, np.mean(runs, 1), color=COLORS[rule], label=rule)
        for workers, values in zip(WORKERS, runs, strict=True):
            losses.plot([workers] * len(values), values, "o", color=COLORS[rule], ms=4)
    losses.set(xlabel="workers", ylabel="training loss at the end", xscale="log")
    losses.set(yscale="log", xticks=WORKERS, xticklabels=WORKERS)
    losses.minorticks_off()
    losses.legend(frameon=False)
    for workers, style in zip(WORKERS, ("-", "--", ":"), strict=True):
        run = results["AdaScale", workers][0]
        steps = f"{workers} workers, {run.steps} steps"
        gains.plot(run.progress, run.gain, style, color=COLORS["AdaScale"], label=steps)
        gains.axhline(workers, color="#cccccc", linewidth=0.8, zorder=0)
    gains.set(xlabel="progress, in steps of one worker", ylabel="gain of a step")
    gains.set(yscale="log", yticks=(1, *WORKERS), yticklabels=(1, *WORKERS))
    gains.minorticks_off()
    gains.legend(frameon=False, loc="lower right")
    for panel in (losses, gains):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    pictures.save(figure, path)


def main():
    """Train all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    dataset = datasets.load("digits")
    cells = [("one", 1), *((rule, w) for w in WORKERS for rule in RULES)]
    results = {cell: [] for cell in cells}
    for cell in tqdm.tqdm(cells, disable=None):
        results[cell] = [train(*cell, seed, dataset) for seed in SEEDS]
    show_table(results)
    save_figure(results, options.out)


if __name__ == "__main__":
    main()
