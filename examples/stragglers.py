"""Error against seconds: whom to wait for when workers are slow now and then."""

import argparse
import pathlib
from typing import NamedTuple

import datasets
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import rich.console
import rich.table
import tqdm

import jaxdist as jd
from jaxdist import coding, timing

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker as ticker

AXIS = "worker"
NUM_WORKERS = 24
EXAMPLES = 8  # of a mini-batch
ATTACKERS = 2
# A heavy tail without a variance: half a second at least, one in the mean.
LAW = timing.pareto(2.0, 0.5)
CODE = coding.batched_coupons(NUM_WORKERS, NUM_WORKERS, load=3)
PROTOCOLS = {
    "synchronous": timing.k_sync(NUM_WORKERS),
    "12-sync": timing.k_sync(12),
    "12-async": timing.k_async(12),
    "AdaSync": timing.adasync(timing.k_async, 6, 10.0, (6, 12, 18, 24)),
    "coded (BCC)": timing.until_decodable(CODE),
}
SIGNS = jd.compression.by_leaf(
    jd.compression.error_feedback(jd.compression.scaled_sign())
)
SETTINGS = {
    "dense": (jd.rules.mean(), None, 0),
    "signs with feedback": (jd.rules.mean(), SIGNS, 0),
    "signs, 2 attackers, trimmed mean": (jd.rules.trimmed_mean(2), SIGNS, ATTACKERS),
}


class Curve(NamedTuple):
    """What a run reached in simulated time."""

    protocol: str
    seconds: list[float]
    errors: list[float]  # on the test set
    updates: int
    staleness: float  # mean, in updates


class Network(nn.Module):
    """One hidden layer: 5,000 parameters on digits."""

    @nn.compact
    def __call__(self, images):
        """Return logits [n, 10] of images [n, height, width, channels]."""
        hidden = nn.relu(nn.Dense(64)(jax.vmap(jnp.ravel)(images)))
        return nn.Dense(10)(hidden)


def loss(params, batch):
    """Return the mean cross-entropy of a mini-batch."""
    images, labels = batch
    logits = Network().apply(params, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses)


@jax.jit
def error(params, images, labels):
    """Return the share of images that get the wrong label."""
    logits = Network().apply(params, images)
    return jnp.mean(jnp.argmax(logits, axis=-1) != labels)


def train(protocol, setting, dataset, options, name) -> Curve:
    """Train for some simulated seconds."""
    rule, compressor, attackers = setting
    tx = optax.chain(
        jd.inject_attack(AXIS, jd.attacks.sign_flip(10.0), attackers),
        jd.aggregate(AXIS, rule, compressor, route="gather"),
        optax.sgd(options.learning_rate),
    )
    init, step = jd.simulate_async(
        *(loss, tx, NUM_WORKERS, AXIS),
        protocol=protocol,
        compute_time=LAW,
        key=options.seed,
    )
    params = Network().init(jax.random.key(options.seed), dataset.train_images[:1])
    state = init(params)
    stream = datasets.batches(dataset, NUM_WORKERS * EXAMPLES, options.seed)
    curve, ages = Curve(name, [], [], 0, 0.0), []
    due, seconds = 0.0, 0.0
    # A log that is no terminal would be flooded by the bar.
    form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
    with tqdm.tqdm(total=1.0, desc=f"{name:<14}", disable=None, bar_format=form) as bar:
        while seconds < options.seconds:
            state, metrics = step(state, next(stream))
            before, seconds = seconds, min(float(metrics["time"]), options.seconds)
            bar.update((seconds - before) / options.seconds)
            ages.append(np.mean(metrics["staleness"]))
            if seconds < due:
                continue
            due = seconds + options.seconds / 60
            wrong = error(state.params, dataset.test_images, dataset.test_labels)
            curve.seconds.append(float(metrics["time"]))
            curve.errors.append(float(wrong))
            bar.set_postfix_str(f"error {curve.errors[-1]:.1%}")
    return curve._replace(updates=len(ages), staleness=float(np.mean(ages)))


def time_to(curve: Curve, target: float) -> float:
    """Return the seconds after which the error stays at the target or below."""
    above = [t for t, e in zip(curve.seconds, curve.errors, strict=True) if e > target]
    after = [t for t in curve.seconds if not above or t > above[-1]]
    return after[0] if after else np.inf


def show_table(curves: dict[str, list[Curve]], target: float) -> None:
    """Print how long each protocol takes to the target error."""
    table = rich.table.Table(title=f"simulated seconds to {target:.0%} test error")
    table.add_column("protocol", no_wrap=True)
    for heading in (*curves, "updates", "staleness"):
        table.add_column(heading, justify="right")
    for rows in zip(*curves.values(), strict=True):
        times = [time_to(curve, target) for curve in rows]
        cells = [f"{t:,.0f}" if np.isfinite(t) else "never" for t in times]
        first = rows[0]
        table.add_row(
            *(first.protocol, *cells, f"{first.updates:,}", f"{first.staleness:.2f}")
        )
    rich.console.Console().print(table)


def save_figure(curves: dict[str, list[Curve]], path: pathlib.Path) -> None:
    """Draw error against seconds, one picture for each setting."""
    figure, panels = plt.subplots(
        1, len(curves), figsize=(12, 4.2), sharey=True, squeeze=False
    )
    for axes, (setting, rows) in zip(panels[0], curves.items(), strict=True):
        for i, curve in enumerate(rows):
            axes.step(
                *(curve.seconds, curve.errors),
                where="post",
                color=f"C{i}",
                label=curve.protocol,
            )
        axes.set(title=setting, xlabel="simulated seconds", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set(ylabel="test error", ylim=(0.02, 1))
    panels[0][0].set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], minor=False)
    panels[0][0].yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    panels[0][0].yaxis.set_minor_formatter(ticker.NullFormatter())
    figure.legend(
        *panels[0][0].get_legend_handles_labels(),
        loc="lower center",
        ncols=len(PROTOCOLS),
        frameon=False,
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")


def main(arguments=None) -> dict[str, list[Curve]]:
    """Run all protocols in all settings, and show them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="simulated, of each"
    )
    parser.add_argument("--target", type=float, default=0.1, help="test error")
    parser.add_argument("--learning-rate", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", help="where the files of the data set are")
    parser.add_argument("--out", type=pathlib.Path, default="out/stragglers.png")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options.data, options.data_dir)
    curves = {}
    for title, setting in SETTINGS.items():
        print(title)
        curves[title] = [
            train(protocol, setting, dataset, options, name)
            for name, protocol in PROTOCOLS.items()
        ]
    show_table(curves, options.target)
    save_figure(curves, options.out)
    return curves


if __name__ == "__main__":
    main()
