"""Draw the loss of a small transformer against what each of eight workers sent.

PYTHONPATH=examples python benchmarks/loss_bytes.py docs/_static/loss_bytes.png

All runs see the same batches, and use Adam with the same learning rate but the one that
takes the sign of what arrives, as DeMo does. The loss is that of files that no run was
trained on.
"""

import argparse
import json
import pathlib
import time

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


def optimizer(name, steps):
    """Return the optimizer of a run; DeMo takes the sign of what arrives."""
    options = {key: jd.compression.by_leaf(value) for key, value in RUNS[name].items()}
    demo = name.startswith("as DeMo")
    then = optax.scale_by_sign() if demo else optax.scale_by_adam()
    rate = 1e-3 if demo else 3e-3
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps)
    return optax.chain(
        jd.aggregate(AXIS, **options), then, optax.scale_by_learning_rate(schedule)
    )


def train(name, steps):
    """Return ``[[megabytes sent, loss], ...]`` of a run."""
    tx = optimizer(name, steps)
    params = transformer.init()
    report = jd.communication_report(tx, params, WORKERS)
    init, step = jd.simulate(transformer.loss, tx, WORKERS, AXIS)
    state, stream = init(params), transformer.batches(BATCH, seed=1)
    unseen = next(transformer.batches(128, seed=2, held_out=True))
    loss = jax.jit(transformer.loss)
    tested_at = set(np.geomspace(1, steps, EVALUATIONS).astype(int))
    curve = []
    for count in range(1, steps + 1):
        state, _ = step(state, next(stream))
        if count in tested_at:
            megabytes = count * report.total_nbytes / 1e6
            curve.append([megabytes, float(loss(state.params, unseen))])
    return curve


def main() -> None:
    """Train all runs, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="out/loss_bytes.png")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    curves = {}
    for name in RUNS:
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
        axes.plot(sent, losses, "osD^vP*X<"[i], linestyle="-", label=name, markersize=5)
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
