"""Teleport along level sets: test functions, the paper's regression, and mini-batches.

PYTHONPATH=examples python benchmarks/papers/teleport.py out/symmetry.png

Booth's and Rosenbrock's functions and the regression of three layers are those of the
paper, with full gradients. Digits are learned by a network 64-64-64-10 of leaky ReLUs
without biases from batches of 32, and teleport on the batch at hand. Prints the tables
of docs/symmetry.md, and draws its picture. It takes three minutes on one CPU core.
"""

import argparse
import functools
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import datasets
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pictures

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

symmetry = jd.contrib.symmetry
SLOPE, SEEDS, STEPS, BATCH, WIDTHS = 0.1, 3, 600, 32, (64, 64, 64, 10)
PAIRS = symmetry.layer_pairs(SLOPE)
RATES = {"SGD": (0.1, 0.2, 0.4), "Adam": (0.003, 0.01, 0.03)}


class Function(NamedTuple):
    """A test function, and how the paper descends on it."""

    loss: Callable[..., Any]
    action: symmetry.Action
    start: tuple[float, float]
    rate: float
    steps: int
    jumps: tuple[int, ...]  # steps before which it teleports


def booth(w, batch=None):
    """Return (x + 2y - 7)^2 + (2x + y - 5)^2."""
    del batch
    return (w[0] + 2 * w[1] - 7) ** 2 + (2 * w[0] + w[1] - 5) ** 2


def rosenbrock(w, batch=None):
    """Return 100 (x^2 - y)^2 + (x - 1)^2."""
    del batch
    return 100 * (w[0] ** 2 - w[1]) ** 2 + (w[0] - 1) ** 2


BOOTH = symmetry.rotation(
    lambda w: jnp.stack([w[0] + 2 * w[1] - 7, 2 * w[0] + w[1] - 5]),
    lambda u: jnp.stack([2 * u[1] - u[0] + 3, 2 * u[0] - u[1] + 9]) / 3,
)
ROSENBROCK = symmetry.rotation(
    lambda w: jnp.stack([10 * (w[0] ** 2 - w[1]), w[0] - 1]),
    lambda u: jnp.stack([u[1] + 1, (u[1] + 1) ** 2 - u[0] / 10]),
)
FUNCTIONS = {
    "Booth": Function(booth, BOOTH, (5.0, -5.0), 0.08, 10, (4,)),
    "Rosenbrock": Function(
        *(rosenbrock, ROSENBROCK, (-1.0, -1.0), 1e-3, 1000, tuple(range(99, 1000, 100)))
    ),
}


def descend_function(function, jumps):
    """Return the points ``[steps + 1, 2]`` and where jumps lead, in float64."""
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(function.loss))
        jump = jax.jit(
            lambda w: symmetry.teleport(
                function.loss, w, function.action, None, steps=40, cap=0.5
            )[0]
        )
        point, path = jnp.array(function.start), []
        landings = {}
        for count in range(function.steps):
            path.append(point)
            if count in jumps:
                point = landings[count] = jump(point)
            point = point - function.rate * slope(point)
        return np.array([*path, point]), {k: np.array(w) for k, w in landings.items()}


def show_functions():
    """Print their table; return the paths."""
    print("| function | steps | loss | loss, with teleports |")
    print("|---|---:|---:|---:|")
    paths = {}
    for name, function in FUNCTIONS.items():
        plain, moved = (descend_function(function, j) for j in ((), function.jumps))
        ends = (float(function.loss(path[0][-1])) for path in (plain, moved))
        print(f"| {name} | {function.steps} |" + "".join(f" {x:.2g} |" for x in ends))
        paths[name] = plain, moved
    return paths


def outputs(params, inputs):
    """Return what a network of leaky ReLUs without biases gives."""
    for kernel in params[:-1]:
        inputs = jax.nn.leaky_relu(inputs @ kernel, SLOPE)
    return inputs @ params[-1]


def square_loss(params, batch):
    """Return half of the summed squared errors."""
    return jnp.sum((outputs(params, batch[0]) - batch[1]) ** 2) / 2


def regression(seed):
    """Return kernels [5, 6, 7, 8] and a batch of four examples, uniform in [0, 1)."""
    rng = np.random.default_rng(seed)
    shapes = ((6, 5), (7, 6), (8, 7), (5, 4), (8, 4))  # as the paper has them
    first, second, third, inputs, targets = (
        jnp.asarray(rng.uniform(size=shape).T, jnp.float32) for shape in shapes
    )
    return [first, second, third], (inputs, targets)


def descend(loss, tx, carry, batches):
    """Return parameters, state and losses after a step for each batch."""

    def step(carry, batch):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    return jax.lax.scan(step, carry, batches)


def show_regression(seeds=5):
    """Print the losses of the paper's regression at two epochs."""
    cases = {
        "SGD 1e-4": (optax.sgd(1e-4), None),
        "SGD 1e-4, teleport, cap 0.01": (optax.sgd(1e-4), 0.01),
        "SGD 1e-4, teleport, cap 0.05": (optax.sgd(1e-4), 0.05),
        "SGD 5e-4": (optax.sgd(5e-4), None),
        "SGD 5e-4, teleport, cap 0.05": (optax.sgd(5e-4), 0.05),
        "momentum 0.9, 1e-4": (optax.sgd(1e-4, 0.9), None),
        "Adam 0.03": (optax.adam(0.03), None),
    }
    print("| regression | loss at 50 | loss at 299 | norm², ratio | loss change |")
    print("|---|---:|---:|---:|---:|")
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(regression, range(seeds)))
    for name, (tx, cap) in cases.items():

        def run(params, batch, tx=tx, cap=cap):
            def go(carry, steps):
                repeated = jax.tree.map(lambda x: jnp.stack([x] * steps), batch)
                return descend(square_loss, tx, carry, repeated)[0]

            params, state = go((params, tx.init(params)), 5)
            seen = symmetry.TeleportMetrics(jnp.zeros(()), jnp.ones(()))
            if cap is not None:
                params, seen = symmetry.teleport(
                    square_loss, params, PAIRS, batch, steps=8, cap=cap
                )
            middle = go((params, state), 45)
            end = go(middle, 249)
            return square_loss(middle[0], batch), square_loss(end[0], batch), seen

        middle, end, seen = jax.jit(jax.vmap(run))(*stacked)
        row = f"| {name} | {middle.mean():.2f} | {end.mean():.2f} |"
        if cap is not None:
            change = jnp.max(jnp.abs(seen.loss_change))
            row += f" {seen.gradient_ratio.mean():.2f} | {change:.0e} |"
        print(row if cap is not None else row + " | |", flush=True)


def cross_entropy(params, batch):
    """Return the mean cross-entropy of a batch."""
    logits = outputs(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


class Digits(NamedTuple):
    """The data, flat."""

    images: jax.Array  # [n, 64]
    labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array


def load_digits():
    """Return the data."""
    data = datasets.load("digits")
    images = (x.reshape(len(x), -1) for x in (data.train_images, data.test_images))
    train, test = map(jnp.asarray, images)
    return Digits(train, data.train_labels, test, data.test_labels)


@functools.cache
def program(optimizer, rate):
    """Return a transformation, and a program of many steps."""
    tx = {"SGD": optax.sgd, "Adam": optax.adam}[optimizer](rate)
    return tx, jax.jit(functools.partial(descend, cross_entropy, tx))


@functools.cache
def jump_program(cap):
    """Return a program that teleports."""
    return jax.jit(
        lambda params, batch: symmetry.teleport(
            cross_entropy, params, PAIRS, batch, steps=8, cap=cap
        )
    )


def train_digits(data, optimizer, rate, seed, cap=0.0, every=100):
    """Return the test accuracy in per cent, and the loss of each step."""
    rng = np.random.default_rng(seed)
    pairs = zip(WIDTHS, WIDTHS[1:], strict=False)
    params = [
        jnp.asarray(rng.standard_normal(pair) * np.sqrt(2 / pair[0]), jnp.float32)
        for pair in pairs
    ]
    tx, run = program(optimizer, rate)
    carry, losses = (params, tx.init(params)), []
    chosen = rng.integers(len(data.labels), size=(STEPS, BATCH))
    for begin in range(0, STEPS, every):
        places = chosen[begin : begin + every]
        batches = data.images[places], data.labels[places]
        if cap and begin:
            moved, _ = jump_program(cap)(
                carry[0], jax.tree.map(lambda leaf: leaf[0], batches)
            )
            carry = moved, carry[1]
        carry, values = run(carry, batches)
        losses.append(np.asarray(values))
    guesses = jnp.argmax(outputs(carry[0], data.test_images), axis=1)
    return 100 * float(jnp.mean(guesses == data.test_labels)), np.concatenate(losses)


def show_digits():
    """Print accuracies; return losses of one seed with the first rate."""
    data, curves = load_digits(), {}
    caps = {"never": 0.0, "cap 0.05": 0.05, "cap 0.5": 0.5}
    print("| teleports every 100 steps | " + " | ".join(RATES) + " |")
    print("|---|" + "---:|" * len(RATES))
    for name, cap in caps.items():
        row = f"| {name} |"
        for optimizer, rates in RATES.items():
            best = None
            for rate in rates:
                runs = [
                    train_digits(data, optimizer, rate, s, cap) for s in range(SEEDS)
                ]
                found = [accuracy for accuracy, _ in runs]
                if best is None or np.mean(found) > np.mean(best[0]):
                    best = found, rate
                curves.setdefault((optimizer, name), runs[0][1])
            found, rate = best
            spread = np.std(found, ddof=1)
            row += f" {np.mean(found):.1f} ± {spread:.1f} (rate {rate}) |"
        print(row, flush=True)
    show_time(data)
    return curves


def show_time(data, rounds=20):
    """Print how many steps a teleport costs."""
    rng = np.random.default_rng(0)
    params = [
        jnp.asarray(rng.standard_normal(pair) / 8, jnp.float32)
        for pair in zip(WIDTHS, WIDTHS[1:], strict=False)
    ]
    (tx, run), jump = program("SGD", 0.1), jump_program(0.05)
    batches = data.images[None, :BATCH], data.labels[None, :BATCH]
    batch = jax.tree.map(lambda leaf: leaf[0], batches)
    times = {"step": [], "jump": []}
    for count in range(rounds + 1):
        calls = {
            "step": lambda: run((params, tx.init(params)), batches),
            "jump": lambda: jump(params, batch),
        }
        for name, call in calls.items():
            begin = time.perf_counter()
            jax.block_until_ready(call())
            if count:  # the first compiles
                times[name].append(time.perf_counter() - begin)
    step, leap = (1e3 * statistics.median(found) for found in times.values())
    print(f"a step {step:.2f} ms, a teleport of 8 moves {leap:.1f} ms")


STYLES = {
    "plain": ("#7f7f7f", "gradient descent"),
    "moved": ("#1f77b4", "with teleports"),
}


def save_figure(paths, curves, path):
    """Draw a path, the losses of the two functions, and those of digits."""
    figure, (plane, losses, digits) = plt.subplots(1, 3, figsize=(13, 4))
    plain, moved = paths["Booth"]
    x, y = np.meshgrid(np.linspace(-4, 6, 200), np.linspace(-6, 8, 200))
    levels = sorted({float(booth(point)) for point in plain[0][:6]})
    plane.contour(x, y, booth((x, y)), levels=levels, colors="#cccccc", linewidths=0.8)
    plane.plot(*plain[0].T, "o-", color="#7f7f7f", ms=3, label="gradient descent")
    (begin, landing), *_ = moved[1].items()
    after = np.vstack([landing, moved[0][begin + 1 :]])
    plane.plot(*after.T, "o-", color="#1f77b4", ms=3, label="after a teleport")
    plane.annotate(
        "", landing, moved[0][begin], arrowprops={"arrowstyle": "->", "ls": "--"}
    )
    plane.set(xlabel="x", ylabel="y", title="Booth's function")
    for kind, (points, _) in zip(STYLES, paths["Rosenbrock"], strict=True):
        color, label = STYLES[kind]
        losses.plot(rosenbrock(points.T), color=color, label=label)
    losses.set(
        xlabel="steps", ylabel="loss", yscale="log", title="Rosenbrock's function"
    )
    colors = {"never": "#7f7f7f", "cap 0.05": "#1f77b4", "cap 0.5": "#d62728"}
    for name, color in colors.items():
        values = curves["SGD", name]
        smooth = np.convolve(values, np.ones(10) / 10, "valid")
        digits.plot(smooth, color=color, label=name)
    digits.set(xlabel="steps", ylabel="loss of a batch, mean of ten", yscale="log")
    digits.set(title="Digits, SGD with rate 0.1, batches of 32", ylim=(0.02, 100))
    for panel in (plane, losses, digits):
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    pictures.save(figure, path)


def main():
    """Print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    paths = show_functions()
    print()
    show_regression()
    print()
    curves = show_digits()
    save_figure(paths, curves, options.out)


if __name__ == "__main__":
    main()
