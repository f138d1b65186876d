"""Choose a few of 500 digits: representatives, apricot, kmedoids, SSDS and chance.

python benchmarks/papers/representatives.py out/representatives.png

Of 500 of scikit-learn's digits k are chosen, and the other 1297 are labelled as the
nearest of them: means of five draws of the 500. apricot and kmedoids take part where
they are installed (`make benchmark-representatives` installs them). Prints the table of
docs/representatives.md and the objective of SSDS, and draws what was chosen.
"""

import argparse
import functools
import pathlib
import time
from typing import NamedTuple

import jax
import matplotlib
import numpy as np
import pictures
from sklearn import datasets

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

try:
    import apricot
    import kmedoids
except ImportError:
    apricot = kmedoids = None

NUMBERS, SEEDS, REPEATS = (10, 20, 50), range(5), 20


class Images(NamedTuple):
    """Digits as numbers in [0, 1], float32 [n, 64], and labels [n]."""

    pixels: np.ndarray
    labels: np.ndarray


@functools.cache
def shuffled_digits(seed) -> tuple[Images, Images]:
    """Return 500 digits to choose from, and 1297 others."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images = (pixels[order] / 16).astype(np.float32), labels[order]
    return Images(*(x[:500] for x in images)), Images(*(x[500:] for x in images))


def distances_between(rows, columns):
    """Return Euclidean distances [n, m]."""
    return np.sqrt(np.maximum(np.sum((rows[:, None] - columns[None]) ** 2, -1), 0))


@functools.cache
def distances_of_seed(seed):
    """Return the distances between the 500."""
    pixels = shuffled_digits(seed)[0].pixels
    return distances_between(pixels, pixels)


choose = jax.jit(jd.contrib.representatives, static_argnames="num")


def choose_ours(num, seed):
    """Return the indices of representatives."""
    return np.asarray(choose(distances_of_seed(seed), num=num).indices)


def choose_random(num, seed):
    """Return indices drawn without replacement."""
    return np.random.default_rng(100 + seed).choice(500, num, replace=False)


def choose_apricot(num, seed):
    """Return what the greedy facility location of apricot chooses."""
    distances = distances_of_seed(seed)
    chooser = apricot.FacilityLocationSelection(num, metric="precomputed")
    return np.asarray(chooser.fit(distances.max() - distances).ranking)


def choose_kmedoids(num, seed):
    """Return the medoids of FasterPAM."""
    found = kmedoids.fasterpam(distances_of_seed(seed), num, random_state=seed)
    return np.asarray(found.medoids)


@functools.cache
def solve_structured(seed, **options):
    """Return what SSDS finds, and the seconds that it takes when compiled."""
    pixels = shuffled_digits(seed)[0].pixels
    begin = time.perf_counter()
    solved = jd.contrib.structured_representatives(pixels, 50, **options)
    jax.block_until_ready(solved)
    return solved, time.perf_counter() - begin


def choose_structured(num, seed):
    """Return the longest rows of SSDS."""
    return np.asarray(solve_structured(seed)[0].indices[:num])


def choose_group_lasso(num, seed):
    """Return the longest rows without graphs (SMRS)."""
    found, _ = solve_structured(seed, diversity=None, locality=None)
    return np.asarray(found.indices[:num])


METHODS = {
    "`representatives`": choose_ours,
    "random": choose_random,
    "`structured_representatives`": choose_structured,
    "the same without graphs": choose_group_lasso,
}
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


def seconds_of(method, num, seed):
    """Return how long a choice takes; those of SSDS are the same for any number."""
    if method is choose_structured:
        return solve_structured(seed)[1]
    if method is choose_group_lasso:
        return solve_structured(seed, diversity=None, locality=None)[1]
    return shortest_time(lambda: method(num, seed))


class Found(NamedTuple):
    """How good representatives are."""

    distance: float  # mean, to the nearest of them
    accuracy: float  # of images that get the label of the nearest
    classes: int


def judge_choice(chosen, seed) -> Found:
    """Label the images that there was no choice of."""
    train, test = shuffled_digits(seed)
    nearest = distances_between(test.pixels, train.pixels[chosen]).argmin(axis=1)
    labels = train.labels[chosen]
    return Found(
        float(distances_of_seed(seed)[:, chosen].min(axis=1).mean()),
        float(np.mean(labels[nearest] == test.labels)),
        len(set(labels)),
    )


def show_digits():
    """Print the table."""
    print("| k | chosen by | mean distance | 1-NN accuracy | classes | ms |")
    print("|---:|---|---:|---:|---:|---:|")
    for num in NUMBERS:
        for name, method in METHODS.items():
            runs = [judge_choice(method(num, seed), seed) for seed in SEEDS]
            mean = Found(*np.mean(runs, axis=0))
            fastest = 1e3 * min(seconds_of(method, num, seed) for seed in SEEDS)
            print(
                f"| {num} | {name} | {mean.distance:.3f} | {100 * mean.accuracy:.1f} % "
                f"| {mean.classes:.1f} | {fastest:.1f} |",
                flush=True,
            )
    if apricot is not None:
        same = [list(choose_ours(10, s)) == list(choose_apricot(10, s)) for s in SEEDS]
        print(f"\nThe ten of apricot, in its order: {all(same)}")


def show_objectives():
    """Print how fast the objective of SSDS falls."""
    steps = (1, 5, 10, 20, 40, 60)
    found = solve_structured(0)[0].objectives
    print(f"\nObjective of SSDS after {', '.join(map(str, steps))} steps:")
    print(", ".join(f"{float(found[step - 1]):.5f}" for step in steps))


def save_figure(path, num=20):
    """Draw the images that were chosen first."""
    rows = {
        "representatives": choose_ours(num, 0),
        "chance": choose_random(num, 0),
        "SSDS": choose_structured(num, 0),
    }
    train = shuffled_digits(0)[0]
    figure, panels = plt.subplots(len(rows), 1, figsize=(10, 2.1))
    for panel, (name, chosen) in zip(panels, rows.items(), strict=True):
        images = train.pixels[chosen].reshape(num, 8, 8)
        framed = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=0.25)
        panel.imshow(np.concatenate(framed, axis=1), cmap="gray_r", vmin=0, vmax=1)
        accuracy = judge_choice(chosen, 0).accuracy
        title = f"{name}\n1-NN {100 * accuracy:.0f} %"
        panel.set_ylabel(title, rotation=0, ha="right", va="center")
        panel.set(xticks=(), yticks=())
        panel.spines[:].set_visible(False)
    pictures.save(figure, path, h_pad=0.3)


def main():
    """Choose, judge and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    show_digits()
    show_objectives()
    save_figure(options.out)


if __name__ == "__main__":
    main()
