"""Draw the loss of a small transformer against what each of eight workers sent.

PYTHONPATH=examples python benchmarks/loss_bytes.py docs/_static/loss_bytes.png

All runs see the same batches, and use Adam with the same learning rate but the one that
takes the sign of what arrives, as DeMo does, and those with Muon. The loss is that of
files that no run was trained on.

PYTHONPATH=examples python benchmarks/loss_bytes.py --rounds

Trains some in larger batches from several seeds, and prints their mean losses.
"""

import argparse
import json
import pathlib
import time
from typing import Any

import jax
import matplotlib
import numpy as np
import optax
import transformer

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker as ticker

AXIS, WORKERS, BATCH, EVALUATIONS = "worker", 8, 16, 12
TOP = jd.compression.top_k(0.01, 4096)
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
INT8 = jd.compression.error_feedback(jd.compression.blockwise_int(8))
TWO_BIT = jd.compression.error_feedback(jd.compression.two_bit(1024))
# How the gradients travel.
RUNS = {
    "dense": {},
    "PowerSGD, rank 1": {
        "compressor": jd.compression.error_feedback(jd.compression.power_sgd(1))
    },
    "PowerSGD, rank 4": {
        "compressor": jd.compression.error_feedback(jd.compression.power_sgd(4))
    },
    "top-1 %, error_feedback": {"compressor": jd.compression.error_feedback(TOP)},
    "top-1 %, ef21": {"compressor": jd.compression.ef21(TOP)},
    "top-1 %, ef21 with momentum": {
        "compressor": jd.compression.ef21(TOP, momentum=0.9)
    },
    "signs both ways": {"compressor": SIGN, "downlink": SIGN},
    "int8 both ways": {"compressor": INT8, "downlink": INT8},
    "as DeMo: DCT, 32 of 4096": {
        "compressor": jd.compression.error_feedback(
            jd.compression.dct_top_k(32 / 4096), decay=0.999
        )
    },
}


# Local rounds: how many steps they have, how displacements travel, and what steps then.
MEAN = optax.sgd(1.0)
ROUNDS = {
    "local Adam of 4 steps": (4, {}, MEAN),
    "the same, signs both ways": (4, {"compressor": SIGN, "downlink": SIGN}, MEAN),
    "MuLoCo of 8 steps, 2 bits both ways": (
        *(8, {"compressor": TWO_BIT, "downlink": TWO_BIT}),
        optax.sgd(0.9, momentum=0.4, nesterov=True),
    ),
}
# Those of `--rounds`, with other seeds and batches.
OF_SEEDS = ("dense", "dense, Muon", "MuLoCo of 8 steps, 2 bits both ways")
RATE, MUON_RATE, DEMO_RATE = 3e-3, 2e-2, 1e-3


def travel(options: dict[str, Any]):
    """Return the exchange of a run."""
    found: dict[str, Any] = {
        key: jd.compression.by_leaf(value) for key, value in options.items()
    }
    return jd.aggregate(AXIS, **found)


def scheduled(rate, steps):
    """Return a rate that rises and falls."""
    return optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps)


def local_optimizer(name, steps):
    """Return the optimizer of each step: Muon for matrices, or Adam."""
    adam_rate = scheduled(RATE, steps)
    if "Mu" not in name:
        return optax.adam(adam_rate)
    rate = scheduled(MUON_RATE, steps)
    return optax.contrib.muon(rate, adam_learning_rate=adam_rate)


def recipe(name, steps):
    """Return ``(init, step, bytes of a step, steps of a round)`` of a run."""
    args = WORKERS, AXIS
    options: dict[str, Any] = {}
    if name in ROUNDS:
        number, how, outer = ROUNDS[name]
        tx = local_optimizer(name, steps)
        options["outer"] = sends = optax.chain(travel(how), outer)
    elif name.startswith("as DeMo"):
        rate, number = scheduled(DEMO_RATE, steps), 1
        then = optax.scale_by_sign(), optax.scale_by_learning_rate(rate)
        tx = sends = optax.chain(travel(RUNS[name]), *then)
    else:
        how, number = RUNS.get(name, {}), 1
        tx = sends = optax.chain(travel(how), local_optimizer(name, steps))
    report = jd.communication_report(sends, transformer.init(), WORKERS)
    init, step = jd.simulate(transformer.loss, tx, *args, **options)
    return init, step, report.total_nbytes / number, number


def train(name, steps, batch=BATCH, seed=0, num_unseen=128):
    """Return ``[[megabytes sent, loss], ...]`` of a run."""
    init, step, nbytes, number = recipe(name, steps)
    state, stream = init(transformer.init(seed)), transformer.batches(batch, 1 + seed)
    unseen = next(transformer.batches(num_unseen, seed=1000, held_out=True))
    loss = jax.jit(transformer.loss)
    wanted = list(np.unique(np.geomspace(1, steps, EVALUATIONS).astype(int)))
    curve = []
    for count in range(number, steps + 1, number):
        batches = [next(stream) for _ in range(number)]
        state, _ = step(state, batches[0] if number == 1 else np.stack(batches))
        if count >= wanted[0]:
            curve.append([count * nbytes / 1e6, float(loss(state.params, unseen))])
            wanted = [later for later in wanted if later > count]
    return curve


def compare_seeds(steps, batch, seeds) -> None:
    """Print the losses after all steps of the runs that use the bytes best."""
    print("| run | loss, nats per byte | MB sent per worker | fewer |")
    print("|---|---:|---:|---:|")
    dense = None
    for name in OF_SEEDS:
        ends = [train(name, steps, batch, seed, 512)[-1] for seed in range(seeds)]
        sent, losses = ends[0][0], [loss for _, loss in ends]
        dense = dense or sent
        shown = f"{np.mean(losses):.3f} ± {np.std(losses):.3f}"
        print(f"| {name} | {shown} | {sent:,.1f} | {dense / sent:.0f}x |", flush=True)


def main() -> None:
    """Train all runs, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="out/loss_bytes.png")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", action="store_true", help="several seeds of some")
    options = parser.parse_args()
    if options.rounds:
        compare_seeds(steps=240, batch=64, seeds=3)
        return
    curves = {}
    for name in (*RUNS, *ROUNDS):
        start = time.perf_counter()
        curves[name] = train(name, options.steps)
        seconds = time.perf_counter() - start
        print(json.dumps({"run": name, "seconds": seconds, "curve": curves[name]}))
    _table(curves)
    _draw(curves, options.steps, pathlib.Path(options.path))


def _table(curves):
    dense = curves["dense"][-1][0]
    print("| run | loss, nats per byte | MB sent per worker | fewer |")
    print("|---|---:|---:|---:|")
    for name, curve in curves.items():
        sent, loss = curve[-1]
        print(f"| {name} | {loss:.3f} | {sent:,.1f} | {dense / sent:.1f}x |")


def _draw(curves, steps, path):
    figure, axes = plt.subplots(figsize=(9, 5))
    for i, (name, curve) in enumerate(curves.items()):
        sent, losses = np.array(curve).T
        style = "-" if name in RUNS else "--"
        marker = "osD^vP*X<>ph"[i]
        axes.plot(sent, losses, marker, linestyle=style, label=name, markersize=5)
    axes.set(
        xlabel=f"MB sent per worker, in {steps} steps",
        ylabel="loss on unseen text, nats per byte",
        xscale="log",
    )
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 0.7, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
