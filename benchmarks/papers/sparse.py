"""Train networks of few weights: which layers keep how many, and which weights.

PYTHONPATH=examples python benchmarks/papers/sparse.py out/sparsity.png

A network 64-256-256-256-10 of 150 016 weights learns scikit-learn's digits with SGD,
momentum 0.9 and weight decay 1e-4 on four workers, which send only the weights of the
mask. Random tickets are drawn before training, with the densities of the layers that
stand in the table. Hybrid tickets keep the largest weights of a trained network, in the
numbers of smart_densities, and train on from the trained values, with zero moments and
the schedule of the rate set back to a quarter of its steps; compared with as many of
the trained weights at random. Prints the table of docs/sparsity.md, means and standard
deviations over the seeds, and draws its picture. It takes four minutes on one CPU core.
"""

import argparse
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

AXIS, WORKERS, BATCH, STEPS, RATE = "data", 4, 64, 600, 0.1
DENSITIES = (0.1, 0.05, 0.02)
WIDTHS = (64, 256, 256, 256, 10)
LAYERS = [f"layer{i}" for i in range(len(WIDTHS) - 1)]
RANDOM = ("smart", "Erdős-Rényi", "uniform, last 30 %", "uniform", "ascending")
HYBRID, CONTROL = "smart, largest of the trained", "smart, random of the trained"
COLORS = {
    "smart": "#1f77b4",
    "Erdős-Rényi": "#17becf",
    "uniform, last 30 %": "#ff7f0e",
    "uniform": "#d62728",
    "ascending": "#9467bd",
    HYBRID: "#2ca02c",
    CONTROL: "#7f7f7f",
}


class Result(NamedTuple):
    """What a run reached."""

    accuracy: float  # of the test images, in per cent
    nbytes: int  # for all kernels, in the payload of one worker
    params: dict  # in the end


def init_params(seed):
    """Return the weights and biases of the dense layers."""
    keys = jax.random.split(jax.random.key(seed), len(LAYERS))
    pairs = zip(WIDTHS, WIDTHS[1:], strict=False)
    return {
        name: {
            "kernel": jax.random.normal(key, pair) * np.sqrt(2 / pair[0]),
            "bias": jnp.zeros(pair[1]),
        }
        for name, key, pair in zip(LAYERS, keys, pairs, strict=True)
    }


def logits_of(params, images):
    """Return logits [n, 10]."""
    for name in LAYERS:
        images = images @ params[name]["kernel"] + params[name]["bias"]
        images = images if name == LAYERS[-1] else jax.nn.relu(images)
    return images


def loss(params, batch):
    """Return the mean cross-entropy of a batch."""
    logits = logits_of(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def densities_of(kind, params, density):
    """Return the densities of the layers; all keep as many weights in all."""
    if kind == "uniform":
        return jd.sparsity.uniform_densities(params, density)
    if kind == "Erdős-Rényi":
        return jd.sparsity.erdos_renyi_densities(params, density)
    if kind == "uniform, last 30 %":
        sizes = [params[name]["kernel"].size for name in LAYERS]
        rest = (density * sum(sizes) - 0.3 * sizes[-1]) / sum(sizes[:-1])
        hidden = {name: params[name] for name in LAYERS[:-1]}
        found = jd.sparsity.uniform_densities(hidden, rest)
        return {**found, LAYERS[-1]: {"kernel": 0.3, "bias": None}}
    kernels = [f"{name}/kernel" for name in LAYERS]
    if kind == "ascending":  # smart, as if the first layers were the last
        kernels = [*reversed(kernels[:-1]), kernels[-1]]
    return jd.sparsity.smart_densities(params, density, order=kernels)


def train(mask, seed, data, trained=None, *, enlarge=True) -> Result:
    """Train all steps, or ``trained`` parameters on from a quarter of the schedule."""
    tx = [jd.aggregate(AXIS, compressor=jd.compression.masked(mask) if mask else None)]
    tx += [optax.add_decayed_weights(1e-4)]
    tx += [optax.sgd(optax.cosine_decay_schedule(RATE, STEPS), 0.9)]
    tx += [jd.keep_sparse(mask)] if mask else []
    init, step = jd.simulate(loss, optax.chain(*tx), WORKERS, AXIS)
    params, first = (init_params(seed), 0) if trained is None else (trained, STEPS // 4)
    if mask:
        params = masked_params(params, mask, enlarge)
    state, rng = init(params), np.random.default_rng(seed)
    rewound = optax.tree.set(state.opt_state, count=jnp.int32(first))
    rewound = jax.tree.map(jnp.copy, rewound)  # a step takes no array twice
    state = state._replace(opt_state=rewound)
    for _ in range(first, STEPS):
        chosen = rng.integers(len(data.train_labels), size=BATCH)
        images = data.train_images[chosen].reshape(BATCH, -1)
        state, _ = step(state, (images, data.train_labels[chosen]))
    check_mask(mask, state.params)
    seen = logits_of(state.params, data.test_images.reshape(len(data.test_labels), -1))
    accuracy = 100 * float(jnp.mean(jnp.argmax(seen, axis=1) == data.test_labels))
    return Result(accuracy, nbytes_of(mask, state.params), state.params)


def masked_params(params, mask, enlarge):
    """Return what a mask keeps.

    Signals of a unit with fewer inputs are smaller. Normalization layers, which the
    networks of the paper have, undo that; here larger weights do.
    """

    def kept(leaf, known):
        if known is None:
            return leaf
        scale = 1 / jnp.sqrt(jnp.mean(known)) if enlarge else 1.0
        return jnp.where(known, scale * leaf, 0)

    return jax.tree.map(kept, params, mask)


def check_mask(mask, params):
    """Raise where a weight outside of the mask is not zero."""
    for name in LAYERS if mask else ():
        left_out = jnp.where(mask[name]["kernel"], 0, params[name]["kernel"])
        if jnp.any(left_out):
            raise AssertionError(f"weights of {name} outside of the mask have moved")


def nbytes_of(mask, params):
    """Return the bytes of all kernels in the payload of one worker."""
    kernels = {name: params[name]["kernel"] for name in LAYERS}
    if mask is None:
        return sum(leaf.nbytes for leaf in kernels.values())
    policy = jd.compression.masked(mask)
    return sum(
        jd.payload_nbytes(policy.select(f"{name}/kernel", leaf), leaf)
        for name, leaf in kernels.items()
    )


def train_kind(kind, density, seed, data, dense) -> Result:
    """Train one cell of the table."""
    params = init_params(seed)
    if kind in RANDOM:
        wanted = densities_of(kind, params, density)
        return train(jd.sparsity.random_mask(params, wanted, seed), seed, data)
    wanted = densities_of("smart", params, density)
    if kind == HYBRID:  # whose largest weights carry the signals
        mask = jd.sparsity.magnitude_mask(dense.params, wanted)
        return train(mask, seed, data, dense.params, enlarge=False)
    mask = jd.sparsity.random_mask(dense.params, wanted, seed)
    return train(mask, seed, data, dense.params)


def show_table(dense, results) -> None:
    """Print means and standard deviations over the seeds."""
    print("| kept | " + " | ".join(f"{100 * d:g} %" for d in DENSITIES) + " |")
    print("|---|" + "---:|" * len(DENSITIES))
    for kind in (*RANDOM, CONTROL, HYBRID):
        row = f"| {kind} |"
        for density in DENSITIES:
            found = [run.accuracy for run in results[kind, density]]
            row += f" {np.mean(found):.1f} ± {np.std(found, ddof=1):.1f} |"
        print(row)
    nbytes = [results["smart", density][0].nbytes for density in DENSITIES]
    print("| bytes of a message | " + " | ".join(f"{n:,}" for n in nbytes) + " |")
    found = [run.accuracy for run in dense]
    spread = np.std(found, ddof=1)
    print(f"dense: {np.mean(found):.1f} ± {spread:.1f} %, {dense[0].nbytes:,} bytes")


def save_figure(dense, results, path) -> None:
    """Draw the accuracies, and what the layers keep."""
    figure, (accuracies, layers) = plt.subplots(1, 2, figsize=(10, 4))
    level = np.mean([run.accuracy for run in dense])
    accuracies.axhline(level, color="black", linestyle=":", label="dense")
    for kind in (HYBRID, *RANDOM, CONTROL):
        runs = [[run.accuracy for run in results[kind, d]] for d in DENSITIES]
        style = "--" if kind == CONTROL else "-"
        means = np.mean(runs, axis=1)
        accuracies.plot(DENSITIES, means, style, color=COLORS[kind], label=kind)
        for density, values in zip(DENSITIES, runs, strict=True):
            spots = [density] * len(values)
            accuracies.plot(spots, values, "o", color=COLORS[kind], ms=3)
    accuracies.set(xlabel="weights kept", ylabel="test accuracy, %", xscale="log")
    accuracies.set(xticks=DENSITIES, xticklabels=[f"{100 * d:g} %" for d in DENSITIES])
    accuracies.legend(frameon=False, fontsize=8, loc="lower right")
    for kind in RANDOM:
        found = densities_of(kind, init_params(0), DENSITIES[1])
        shares = [100 * found[name]["kernel"] for name in LAYERS]
        layers.plot(range(1, 5), shares, "o-", color=COLORS[kind], label=kind)
    layers.set(
        xlabel="layer", ylabel=f"weights kept, %, of {100 * DENSITIES[1]:g} % in all"
    )
    layers.set(xticks=range(1, 5), yscale="log")
    layers.set(yticks=(1, 3, 10, 30), yticklabels=(1, 3, 10, 30))
    for panel in (accuracies, layers):
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    pictures.save(figure, path)


def main() -> None:
    """Train all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = datasets.load("digits")
    dense = [train(None, seed, data) for seed in range(options.seeds)]
    cells = [(kind, d) for kind in (*RANDOM, CONTROL, HYBRID) for d in DENSITIES]
    results = {}
    for kind, density in tqdm.tqdm(cells, disable=None):
        results[kind, density] = [
            train_kind(kind, density, seed, data, run) for seed, run in enumerate(dense)
        ]
    show_table(dense, results)
    save_figure(dense, results, options.out)


if __name__ == "__main__":
    main()
