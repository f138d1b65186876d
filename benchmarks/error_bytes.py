"""Draw the relative squared error against the bytes of all compressors, on gradients.

PYTHONPATH=examples python benchmarks/error_bytes.py docs/_static/error_bytes.png

Biases and other small leaves travel as they are, as `by_leaf` does by default, and are
counted. Nothing is remembered from step to step but what PowerSGD needs.
"""

import json
import pathlib
import sys

import gradients
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker as ticker

DENSITIES = (0.001, 0.003, 0.01, 0.03, 0.1)
FAMILIES = {
    "top_k in blocks": [jd.compression.top_k(d, 4096) for d in DENSITIES],
    "top_k, values by qsgd(8)": [
        jd.compression.quantized(jd.compression.top_k(d, 4096), jd.compression.qsgd(8))
        for d in DENSITIES
    ],
    "dct_top_k": [jd.compression.dct_top_k(d) for d in DENSITIES],
    "power_sgd": [jd.compression.power_sgd(rank) for rank in (1, 2, 4, 8)],
    "random_k, contractive": [
        jd.compression.contractive(jd.compression.random_k(d)) for d in DENSITIES
    ],
    "atomo": [jd.compression.atomo(d) for d in DENSITIES],
    "terngrad": [jd.compression.terngrad()],
    "qsgd": [jd.compression.qsgd(bits) for bits in (2, 4, 8)],
    "scaled_sign and one_bit": [jd.compression.scaled_sign(), jd.compression.one_bit()],
    "drive and eden": [
        jd.compression.drive(),
        *(jd.compression.eden(bits) for bits in (2, 3, 4)),
    ],
    "blockwise_int": [jd.compression.blockwise_int(bits) for bits in (4, 8)],
    "blockwise_float8": [jd.compression.blockwise_float8()],
    "natural": [jd.compression.natural()],
    "cast to bfloat16": [jd.compression.cast(jnp.bfloat16)],
}
UNBIASED = ("atomo", "terngrad", "qsgd", "natural")


def measure(compressor, steps) -> tuple[float, float]:
    """Return bytes per coordinate, and the relative squared error at the last step."""
    policy = jd.compression.by_leaf(compressor)
    tx = jd.compress(policy)
    state = tx.init(steps[0])
    update = jax.jit(tx.update)
    for gradient in steps:
        seen, state = update(gradient, state)
    wanted = gradients.flat(steps[-1])
    error = jnp.sum((gradients.flat(seen) - wanted) ** 2) / jnp.sum(wanted**2)
    named = jax.tree_util.tree_leaves_with_path(steps[-1])
    nbytes = sum(
        jd.payload_nbytes(policy.select(jax.tree_util.keystr(path), leaf), leaf)
        for path, leaf in named
    )
    return nbytes / wanted.size, float(error)


def main(path: pathlib.Path) -> None:
    """Measure and draw."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 6.2), sharey=True)
    for axes, (name, steps) in zip(
        panels, gradients.all_of_them().items(), strict=True
    ):
        for i, (family, compressors) in enumerate(FAMILIES.items()):
            points = [measure(compressor, steps) for compressor in compressors]
            _draw(axes, i, family, np.array(points))
            print(json.dumps({"model": name, "family": family, "points": points}))
        size = gradients.flat(steps[0]).size
        axes.set(
            title=f"{name}, {size / 1e6:.2f}M parameters",
            xlabel="bytes per coordinate (dense is 4)",
            xscale="log",
            yscale="log",
            ylim=(1e-6, 50),
        )
        axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.axhline(1, color="0.6", linewidth=0.8, zorder=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("relative squared error of one message")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="lower center",
        ncols=4,
        frameon=False,
    )
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw(axes, i, family, points):
    """Draw a family; what is unbiased is hollow, since its errors average out."""
    unbiased = family in UNBIASED
    color = matplotlib.colormaps["tab20"](2 * i % 20 + i // 10)
    axes.plot(
        *points.T,
        marker="osD^vP*X"[i % 8],
        color=color,
        markerfacecolor="white" if unbiased else color,
        linestyle="--" if unbiased else "-",
        linewidth=1.2,
        markersize=6,
        label=f"{family} (unbiased)" if unbiased else family,
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if sys.argv[1:] else "out/error_bytes.png"))
