"""Train with each optimizer: accuracy after some steps, and bytes that were sent.

    PYTHONPATH=examples python -m benchmarks.quality.optimizers \
        docs/_static/optimizers.json docs/_optimizers.md

What the file has is not trained again. Learning rates are chosen with the first seed.
All optimizers also run at the rate that is best for dense Adam, as who does not tune.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import optax

import jaxdist as jd
from benchmarks.quality import problem

AXIS, SEEDS = problem.AXIS, (0, 1, 2)
WARM_UP = 48  # steps of 1-bit Adam, 15 % of all
BIN = 16  # steps: in each of them one report holds for all
LATE = 10_000  # a step of a long training
ADAM = (4e-3, 8e-3, 16e-3)
NOISY = (5e-4, 1e-3, 2e-3)  # Adam after signs stands no more
LAMB = (4e-3, 8e-3, 2e-2)
SIGNS = (1e-3, 3e-3, 8e-3)
LION = (3e-4, 1e-3, 3e-3)
DION = (2e-2, 4e-2, 8e-2)
SGD = (3e-2, 0.1, 0.3)
DENSE = "`aggregate` → `optax.adam`"
_SIGN = jd.compression.by_leaf(
    jd.compression.error_feedback(jd.compression.scaled_sign())
)
_BACK = jd.compression.error_feedback(
    jd.compression.quantized(
        jd.compression.dct_top_k(128 / 4096), jd.compression.blockwise_int(8)
    )
)
_ONE_BIT = jd.compression.scaled_sign()
# Name in the table: learning rates, optimizer, bytes of memory for each weight.
METHODS = {
    DENSE: (
        ADAM,
        lambda rate: optax.chain(jd.aggregate(AXIS), optax.adam(rate)),
        "8",
    ),
    "signs both ways → `optax.adam`": (
        NOISY,
        lambda rate: optax.chain(
            jd.aggregate(AXIS, compressor=_SIGN, downlink=_SIGN), optax.adam(rate)
        ),
        "12 + 4/W",
    ),
    "`zero_one_adam`": (
        ADAM,
        lambda rate: jd.optimizers.zero_one_adam(AXIS, rate),
        "12 + 4/W",
    ),
    "`one_bit_adam`, 15 % warm-up": (
        ADAM,
        lambda rate: jd.optimizers.one_bit_adam(AXIS, rate, WARM_UP),
        "12 + 4/W",
    ),
    "`aggregate` → `optax.lamb`": (
        LAMB,
        lambda rate: optax.chain(jd.aggregate(AXIS), optax.lamb(rate)),
        "8",
    ),
    "`one_bit_lamb`, 15 % warm-up": (
        LAMB,
        lambda rate: jd.optimizers.one_bit_lamb(AXIS, rate, WARM_UP),
        "16 + 4/W",
    ),
    "`loco`": (
        ADAM,
        lambda rate: jd.optimizers.loco(AXIS, rate),
        "9 + 1/W",
    ),
    "`distributed_lion`": (
        LION,
        lambda rate: jd.optimizers.distributed_lion(AXIS, rate, weight_decay=0.0),
        "4",
    ),
    "`dion`, a sixteenth of the rank": (
        DION,
        lambda rate: jd.optimizers.dion(AXIS, rate, 1 / 16, elementwise=["layer2/*"]),
        "4",
    ),
    "`aggregate` → `optax.sgd`, momentum 0.9": (
        SGD,
        lambda rate: optax.chain(jd.aggregate(AXIS), optax.sgd(rate, 0.9)),
        "4",
    ),
    "`ef21_sgd2m`": (
        SGD,
        lambda rate: jd.optimizers.ef21_sgd2m(AXIS, rate),
        "16",
    ),
    "`demo`": (SIGNS, lambda rate: jd.optimizers.demo(AXIS, rate), "4"),
    "`demo`, signs": (
        SIGNS,
        lambda rate: jd.optimizers.demo(AXIS, rate, values="sign"),
        "4",
    ),
    "`demo`, both ways": (
        SIGNS,
        lambda rate: jd.optimizers.demo(AXIS, rate, downlink=_BACK),
        "4 + 4/W",
    ),
}


def bytes_sent(make, step):
    """Return the bytes for each weight that a worker sends in a step, and the ratio."""
    params = problem.init(0)
    weights = sum(leaf.size for layer in params.values() for leaf in layer.values())
    report = jd.communication_report(make(1e-3), params, problem.WORKERS, step=step)
    return report.total_nbytes / weights, report.dense_nbytes / weights


def measure_bytes(make):
    """Return the ratio to dense in the whole run, and late in a long one."""
    steps = range(0, problem.STEPS, BIN)
    sent, dense = np.mean([bytes_sent(make, step) for step in steps], axis=0)
    late = bytes_sent(make, LATE)
    return {
        "bytes": sent,
        "ratio": dense / sent,
        "late_bytes": late[0],
        "late": late[1] / late[0],
    }


def best_rate(runs, rates):
    """Return the learning rate of the best accuracy with the first seed."""
    return max(rates, key=lambda rate: runs[f"{rate:g}, {SEEDS[0]}"][0])


def dense_rate(found):
    """Return the learning rate that is best for dense Adam, which was trained first."""
    return best_rate(found[DENSE]["runs"], METHODS[DENSE][0])


def train_all(path, data, names):
    """Train what the file does not have yet."""
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        rates, make, _ = METHODS[name]
        row = found.setdefault(name, {"runs": {}})
        row.setdefault("sent", None)
        if row["sent"] is None:
            row["sent"] = measure_bytes(make)
        train = problem.trainer(make, data)

        def run(rate, seed, row=row, train=train, name=name):
            key = f"{rate:g}, {seed}"
            if key not in row["runs"]:
                begun = time.monotonic()
                row["runs"][key] = train(rate, seed)
                path.write_text(json.dumps(found, indent=1))
                seconds = time.monotonic() - begun
                print(f"{name} {key}: {row['runs'][key][0]:.4f} ({seconds:.0f} s)")

        for rate in rates:
            run(rate, SEEDS[0])
        for rate in (best_rate(row["runs"], rates), dense_rate(found)):
            for seed in SEEDS:
                run(rate, seed)
    return found


def is_done(name, found):
    """Whether a row has all runs of the table."""
    rates, runs = METHODS[name][0], found[name]["runs"]
    if any(f"{rate:g}, {SEEDS[0]}" not in runs for rate in rates):
        return False
    needed = best_rate(runs, rates), dense_rate(found)
    return all(f"{rate:g}, {seed}" in runs for rate in needed for seed in SEEDS)


def accuracies(row, rate):
    """Return those of all seeds, in percent."""
    return [100 * row["runs"][f"{rate:g}, {seed}"][0] for seed in SEEDS]


def table_of(found):
    """Return the table in Markdown, of what is done."""
    untuned = dense_rate(found)
    lines = [
        "| optimizer | learning rate | test accuracy | ± | at the dense rate, without "
        "tuning | fewer bytes, here | fewer bytes, late | bytes of memory per weight |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (rates, _, memory) in METHODS.items():
        if name not in found or not is_done(name, found):
            continue
        row = found[name]
        rate = best_rate(row["runs"], rates)
        seen = accuracies(row, rate)
        lines.append(
            f"| {name} | {rate:g} | {np.mean(seen):.1f} % | {np.std(seen):.1f} "
            f"| {np.mean(accuracies(row, untuned)):.1f} % "
            f"| {row['sent']['ratio']:.1f}x | {row['sent']['late']:.1f}x | {memory} |"
        )
    return "\n".join(lines) + "\n"


def main():
    """Train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--data-dir", help="with the files of Fashion-MNIST")
    options = parser.parse_args()
    data = problem.load(options.data_dir)
    for name in METHODS:
        found = train_all(options.results, data, [name])
        options.table.write_text(table_of(found))


if __name__ == "__main__":
    main()
