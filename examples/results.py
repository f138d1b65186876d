"""What a person sees in the end: a table and a picture."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker as ticker
import rich.console
import rich.table
from training import Run


def show_table(runs: list[Run]) -> None:
    """Print what every run reached, and what it sent for that."""
    table = rich.table.Table()
    table.add_column("run", no_wrap=True)
    for heading in ("accuracy", "MB sent", "bytes/step", "fewer"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            run.name,
            f"{run.accuracies[-1]:.1%}",
            f"{run.megabytes[-1]:,.1f}",
            f"{run.report.total_nbytes:,.0f}",
            f"{run.report.ratio:.1f}x",
        )
    rich.console.Console().print(table)


def save_figure(runs: list[Run], path: pathlib.Path) -> None:
    """Draw accuracy against steps, and against what each worker sent."""
    figure, (by_step, by_bytes) = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
    for i, run in enumerate(runs):
        style = {"color": f"C{i}", "label": run.name, "linewidth": 1.8}
        by_step.plot(run.steps, run.accuracies, **style)
        by_bytes.plot(run.megabytes, run.accuracies, **style)
    by_step.set(xlabel="optimizer steps", ylabel="test accuracy", ylim=(0, 1.02))
    by_bytes.set(xlabel="MB sent per worker")
    for axes in (by_step, by_bytes):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *by_step.get_legend_handles_labels(),
        loc="lower center",
        ncols=min(4, len(runs)),
        frameon=False,
    )
    rows = -(-len(runs) // 4)
    figure.tight_layout(rect=(0, 0.02 + 0.055 * rows, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")
