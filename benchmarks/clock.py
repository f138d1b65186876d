"""Measure simulated time: events a second, what it costs, and draw the trade-off.

PYTHONPATH=examples python benchmarks/clock.py docs/_static/tradeoff.png
"""

import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib
import model
import numpy as np
import optax
import turns

import jaxdist as jd
from jaxdist import timing

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NUM_EVENTS = 40_000
LAWS = {
    "exponential": timing.exponential(1.0),
    "half constant": timing.shifted_exponential(0.5, 0.5),
    "heavy tail": timing.pareto(2.0, 0.5),
}
KINDS = (timing.k_sync, timing.k_batch_sync, timing.k_async, timing.k_batch_async)
NUM_WORKERS = 8


def events_a_second() -> None:
    """Print how fast the clock is without any gradient."""
    print(f"{'protocol':<18} {'W':>3} {'events/s':>10}")
    for num_workers in (8, 40):
        for protocol in (timing.k_async(1), *(kind(4) for kind in KINDS)):
            updates = NUM_EVENTS // protocol.num_arrivals
            args = protocol, LAWS["exponential"], num_workers, updates
            jax.block_until_ready(timing.simulate_clock(*args))
            start = time.perf_counter()
            jax.block_until_ready(timing.simulate_clock(*args, 1))
            rate = NUM_EVENTS / (time.perf_counter() - start)
            print(f"{protocol.name:<18} {num_workers:>3} {rate:>10,.0f}")


def cost_of_asynchrony(rounds: int = 15, steps: int = 5) -> None:
    """Print steps in simulated time against steps in lock step, in turn."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((16 * NUM_WORKERS, 8, 8, 1)).astype(np.float32)
    labels = rng.integers(0, 10, 16 * NUM_WORKERS).astype(np.int32)
    feedback = jd.compression.error_feedback(jd.compression.scaled_sign())
    tx = optax.chain(jd.aggregate("worker", compressor=feedback), optax.sgd(0.1))
    args = model.loss, tx, NUM_WORKERS, "worker"
    recipes = {"simulate": jd.simulate(*args, has_aux=True)}
    for protocol in (timing.k_sync(NUM_WORKERS), timing.k_async(NUM_WORKERS)):
        recipes[protocol.name] = jd.simulate_async(
            *args,
            protocol=protocol,
            compute_time=LAWS["exponential"],
            has_aux=True,
        )
    batch = jnp.asarray(images), jnp.asarray(labels)
    found = turns.median_seconds(recipes, model.init(0, images), batch, rounds, steps)
    print(f"\n{'step of 8 workers':<18} {'ms':>8} {'ratio':>6}")
    for name, median in found.items():
        print(f"{name:<18} {1e3 * median:>8.1f} {median / found['simulate']:>6.2f}")


def draw_tradeoff(path: pathlib.Path) -> None:
    """Draw seconds of a gradient against its age, for every K and law."""
    figure, panels = plt.subplots(1, len(LAWS), figsize=(12, 3.8), sharey=True)
    for axes, (title, law) in zip(panels, LAWS.items(), strict=True):
        for i, kind in enumerate(KINDS):
            points = []
            for k in (1, 2, 4, 6, 8):
                found = timing.simulate_clock(kind(k), law, NUM_WORKERS, 8000 // k)
                seconds = float(found.time[-1]) / (8000 // k * k)
                points.append((float(jnp.mean(found.staleness)), seconds, k))
            ages, seconds, numbers = np.array(points).T
            ages = ages + 0.06 * (kind is timing.k_batch_sync)  # else on k_sync
            label = kind.__name__
            axes.plot(ages, seconds, "o-", color=f"C{i}", label=label, markersize=4)
            for place in (0, -1):
                axes.annotate(
                    f"K={numbers[place]:.0f}",
                    (ages[place], seconds[place]),
                    textcoords="offset points",
                    xytext=(-24, 4) if kind is timing.k_sync else (5, 4),
                    fontsize=8,
                    color=f"C{i}",
                )
        axes.set(title=title, xlabel="mean staleness, updates", xlim=(-0.2, 10))
        axes.set_xscale("symlog", linthresh=0.5)
        axes.set_xticks([0, 0.5, 1, 3, 7], ["0", "½", "1", "3", "7"])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="seconds for each gradient", ylim=(0.1, 0.6))
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="lower center",
        ncols=len(KINDS),
        frameon=False,
    )
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"Picture: {path}")


if __name__ == "__main__":
    events_a_second()
    cost_of_asynchrony()
    draw_tradeoff(pathlib.Path(sys.argv[1]))
