"""Choose a few of many: digits of 500, and workers to poll of 40.

PYTHONPATH=examples python benchmarks/papers/representatives.py

First table: of 500 of scikit-learn's digits k are chosen, the same with apricot and
kmedoids where they are installed (`make benchmark-representatives` has them), and the
other 1297 are labelled as their nearest representative. Second table: 40 workers hold
35 digits each, shuffled or sorted by label, and a softmax regression has taken 10 steps
or 300. A server polls k of them and estimates the mean gradient of all. The distances
between the gradients are those of the same step, or of ten steps before.
"""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets

import jaxdist as jd

try:
    import apricot
    import kmedoids
except ImportError:
    apricot = kmedoids = None

WORKERS, EXAMPLES, LATE = 40, 35, 10
REPEATS, DRAWS, SEEDS = 20, 200, range(5)


class Images(NamedTuple):
    """Digits as numbers in [0, 1], float32 [n, 64], and labels [n]."""

    pixels: np.ndarray
    labels: np.ndarray


def shuffled_digits(seed) -> Images:
    """Return all digits in an order of their own; of seed 0 in that of the file."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.arange(len(labels))
    if seed:
        order = np.random.default_rng(seed).permutation(order)
    return Images((pixels[order] / 16).astype(np.float32), labels[order])


def distances_between(rows, columns):
    """Return Euclidean distances [n, m]."""
    return np.sqrt(np.maximum(np.sum((rows[:, None] - columns[None]) ** 2, -1), 0))


choose = jax.jit(jd.contrib.representatives, static_argnames="num")


def choose_ours(distances, num, seed):
    """Return the indices of representatives."""
    del seed
    return np.asarray(choose(distances, num=num).indices)


def choose_random(distances, num, seed):
    """Return indices drawn without replacement."""
    return np.random.default_rng(100 + seed).choice(len(distances), num, replace=False)


def choose_apricot(distances, num, seed):
    """Return what the greedy facility location of apricot chooses."""
    del seed
    chooser = apricot.FacilityLocationSelection(num, metric="precomputed")
    return np.asarray(chooser.fit(distances.max() - distances).ranking)


def choose_kmedoids(distances, num, seed):
    """Return the medoids of FasterPAM."""
    return np.asarray(kmedoids.fasterpam(distances, num, random_state=seed).medoids)


METHODS = {"`representatives`": choose_ours, "random": choose_random}
if apricot is not None:
    METHODS |= {"apricot, greedy": choose_apricot, "kmedoids": choose_kmedoids}


def shortest_time(function):
    """Return the seconds of the fastest of some calls, after one to compile."""
    function()
    seconds = []
    while len(seconds) < REPEATS and sum(seconds) < 1:
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


class Found(NamedTuple):
    """How good representatives are."""

    distance: float  # mean, to the nearest of them
    accuracy: float  # of images that get the label of the nearest
    classes: int
    milliseconds: float


def judge_digits(method, num, seed) -> Found:
    """Choose of 500 digits, label the others."""
    images = shuffled_digits(seed)
    train, test = Images(*(x[:500] for x in images)), Images(*(x[500:] for x in images))
    distances = distances_between(train.pixels, train.pixels)
    chosen = method(distances, num, seed)
    nearest = distances_between(test.pixels, train.pixels[chosen]).argmin(axis=1)
    labels = train.labels[chosen]
    return Found(
        float(distances[:, chosen].min(axis=1).mean()),
        float(np.mean(labels[nearest] == test.labels)),
        len(set(labels)),
        1e3 * shortest_time(lambda: method(distances, num, seed)),
    )


def show_digits():
    """Print the first table."""
    print("| k | chosen by | mean distance | 1-NN accuracy | classes | ms |")
    print("|---:|---|---:|---:|---:|---:|")
    for num in (10, 20, 50):
        for name, method in METHODS.items():
            runs = [judge_digits(method, num, seed) for seed in SEEDS]
            mean = Found(*np.mean(runs, axis=0))
            fastest = min(run.milliseconds for run in runs)
            print(
                f"| {num} | {name} | {mean.distance:.3f} | {100 * mean.accuracy:.1f} % "
                f"| {mean.classes:.1f} | {fastest:.1f} |",
                flush=True,
            )
    if apricot is not None:
        pixels = shuffled_digits(0).pixels[:500]
        distances = distances_between(pixels, pixels)
        ours, theirs = choose_ours(distances, 10, 0), choose_apricot(distances, 10, 0)
        print(f"\nThe ten of apricot, in its order: {list(ours) == list(theirs)}")


def loss(weights, batch):
    """Return the mean cross-entropy of a softmax regression."""
    logits = batch[0] @ weights
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def worker_batches(seed, is_sorted):
    """Return images [W, n, 64] and labels [W, n] of the workers."""
    images = shuffled_digits(seed + 1)
    number = WORKERS * EXAMPLES
    order = np.arange(number)
    if is_sorted:
        order = np.argsort(images.labels[:number], kind="stable")
    shape = WORKERS, EXAMPLES
    pixels = images.pixels[order].reshape(*shape, -1)
    return jnp.asarray(pixels), jnp.asarray(images.labels[order].reshape(shape))


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


@jax.jit
def distances_of_rows(rows):
    """Return the distances as rules see them."""
    return jnp.sqrt(jd.rules.Geometry.of(rows).squared_distances)


def relative_error(rows, indices, weights):
    """Return how far a weighted mean of some rows is from the mean of all."""
    mean = rows.mean(axis=0)
    estimate = weights @ rows[indices] / weights.sum()
    return float(np.linalg.norm(estimate - mean) / np.linalg.norm(mean))


def polling_errors(seed, is_sorted, steps, num) -> dict[str, Any]:
    """Return the errors of all ways to poll so many workers."""
    batches = worker_batches(seed, is_sorted)
    start = 0.01 * jax.random.normal(jax.random.key(seed), (64, 10))
    before = train(start, batches, steps - LATE)
    now = train(before, batches, LATE)
    old, rows = (np.asarray(gradients_of_workers(w, batches)) for w in (before, now))
    rng = np.random.default_rng(seed)
    draws = [rng.choice(WORKERS, num, replace=False) for _ in range(DRAWS)]
    errors = {"random": np.mean([relative_error(rows, d, np.ones(num)) for d in draws])}
    for name, seen in (("of this step", rows), ("ten steps old", old)):
        found = choose(distances_of_rows(seen), num=num)
        weights = np.asarray(found.weights)
        errors[name] = relative_error(rows, np.asarray(found.indices), weights)
    return errors


def show_polling():
    """Print the second table."""
    print("| data | steps | k | random | distances of this step | ten steps old |")
    print("|---|---:|---:|---:|---:|---:|")
    for is_sorted in (False, True):
        for steps in (10, 300):
            for num in (8, 16):
                runs = [polling_errors(s, is_sorted, steps, num) for s in SEEDS]
                cells = " | ".join(
                    f"{np.mean([run[name] for run in runs]):.3f} ± "
                    f"{np.std([run[name] for run in runs]):.3f}"
                    for name in runs[0]
                )
                data = "sorted" if is_sorted else "shuffled"
                print(f"| {data} | {steps} | {num} | {cells} |", flush=True)


if __name__ == "__main__":
    show_digits()
    print()
    show_polling()
