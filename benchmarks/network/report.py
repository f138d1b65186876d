"""Turn the JSON of a comparison into tables and pictures.

python -m benchmarks.network.report docs/_static/network.json docs/network.md

Writes each table between the page's marks ``<!-- NAME -->`` and ``<!-- end -->``, and
the pictures to the folder of the JSON.
"""

import argparse
import itertools
import json
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

TARGETS = {"mlp": 0.80, "cnn": 0.83}  # test accuracies that runs have to reach
RATES = (None, "1gbit", "100mbit")
RATE_NAMES = {None: "no limit", "1gbit": "1 Gbit/s", "100mbit": "100 Mbit/s"}
MODEL_NAMES = {"mlp": "MLP", "cnn": "CNN"}
LIBRARY_NAMES = {"jax": "jaxdist", "torch": "torch", "torchft": "torchft"}
BARE = "bare pmean"
# Of a method, and dashed of torch's counterpart; a bare pmean would hide dense.
COLORS = {
    "dense": "black",
    **dict.fromkeys(("float16", "fp16 hook"), "C0"),
    "bfloat16 both ways": "0.6",
    "int8 both ways": "C1",
    "signs both ways": "C2",
    "trimmed mean of signs": "C8",
    "local SGD": "C5",
    "DiLoCo": "C9",
    "local SGD, signs both ways": "darkgreen",
    "SparseLoCo": "gold",
    "top-1 %": "C4",
    **dict.fromkeys(("PowerSGD, rank 1", "PowerSGD hook, rank 1"), "C6"),
    **dict.fromkeys(("PowerSGD, rank 4", "PowerSGD hook, rank 4"), "C3"),
}
SHARE, CONSTANT = 0.03, 6000  # of the report, and bytes: what a step may send more


class Run(NamedTuple):
    """What was measured of one way to send gradients."""

    together: dict  # record of the hosts that train together
    alone: dict | None  # record of the same hosts, each by itself

    @property
    def method(self) -> str:
        """How the gradients travel."""
        return self.together["method"]

    @property
    def library(self) -> str:
        """Who sends them."""
        return self.together["library"]

    @property
    def name(self) -> str:
        """Name for a table."""
        return f"{LIBRARY_NAMES[self.library]}, {self.method}"

    def phase(self, rate: str | None) -> dict | None:
        """Return what was measured at a rate, if it was."""
        found = [p for p in self.together["phases"] if p["rate"] == rate]
        return found[0] if found else None

    def seconds(self, rate: str | None) -> float:
        """Return the median seconds of a step; NaN when it was not measured."""
        phase = self.phase(rate)
        return phase["median_seconds"] if phase else math.nan

    @property
    def compute(self) -> float:
        """Return the median seconds of the processor in a step that sends nothing.

        Unlike those of the clock, other programs do not lengthen them much.
        """
        if self.alone is None:
            return math.nan
        return self.alone["phases"][0]["median_cpu_seconds"]

    def ideal_seconds(self, bits_per_second: float) -> float:
        """Return what a step computes, and the time of its bytes at full rate."""
        return self.compute + 8 * self.nbytes / bits_per_second

    @property
    def nbytes(self) -> float:
        """Return what a host sends in a step, without the headers of packets."""
        # The phase with the most steps cuts the least at its ends.
        phase = max(self.together["phases"], key=lambda phase: phase["steps"])
        return phase["sent_bytes"] - phase["header_bytes"]

    @property
    def curve(self) -> list[tuple[int, float]]:
        """Return how accurate the model was after how many steps."""
        return [
            (step, accuracy)
            for phase in self.together["phases"]
            for step, accuracy in phase["accuracies"]
        ]

    def steps_to(self, target: float) -> float:
        """Return after how many steps the model was that accurate; perhaps never.

        Between two tests the accuracy is taken to be on a line.
        """
        step, accuracy = 0, 0.0
        for next_step, reached in self.curve:
            if reached >= target:
                part = (target - accuracy) / (reached - accuracy)
                return step + part * (next_step - step)
            step, accuracy = next_step, reached
        return math.inf

    def seconds_to(self, target: float, rate: str | None) -> float:
        """Return the time of these steps: they do not depend on the links."""
        return self.steps_to(target) * self.seconds(rate)


def load(path: pathlib.Path) -> dict:
    """Read a comparison."""
    return json.loads(path.read_text())


def runs_of(found: dict, model: str, hosts: int) -> list[Run]:
    """Return the runs of a model, in the order of the comparison."""
    records = [
        record
        for record in found["records"]
        if (record["model"], record["hosts"]) == (model, hosts)
    ]

    def key(record):
        return record["library"], record["method"]

    alone = {key(record): record for record in records if record["alone"]}
    return [
        Run(record, alone.get(key(record))) for record in records if not record["alone"]
    ]


def find(runs: Iterable[Run], library: str, method: str) -> Run | None:
    """Return one of the runs, if it is there."""
    for run in runs:
        if (run.library, run.method) == (library, method):
            return run
    return None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def milliseconds(seconds: float) -> str:
    """Write a time with three digits or so; nothing for what was not measured."""
    if math.isnan(seconds):
        return ""
    return f"{seconds * 1e3:,.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.1f}"


def times(ratio: float) -> str:
    """Write how many times more."""
    if math.isnan(ratio):
        return ""
    return "never" if math.isinf(ratio) else f"{ratio:.1f}x"


def bytes_table(runs: Sequence[Run]) -> str:
    """Compare the kernel's counters with the report."""
    rows = []
    for run in runs:
        reported = run.together["reported_bytes"]
        slow = run.phase("100mbit")
        more = None if reported is None else run.nbytes - reported
        rows.append(
            [
                run.name,
                f"{run.nbytes:,.0f}",
                "" if reported is None else f"{reported:,.0f}",
                "" if more is None else f"{more:+,.0f}",
                "" if not reported else f"{more / reported:+.1%}",
                "" if slow is None else f"{slow['sent_bytes']:,.0f}",
            ]
        )
    head = ["run", "sent", "report", "more", "in %", "with headers, 100 Mbit/s"]
    return table(head, rows)


def steps_table(runs: Sequence[Run]) -> str:
    """Show the time of a step, and in how much of it nothing is computed."""
    rows = []
    for run in runs:
        slow = run.seconds("100mbit")
        waiting = 1 - run.compute / slow
        rows.append(
            [
                run.name,
                milliseconds(run.compute),
                *(milliseconds(run.seconds(rate)) for rate in RATES),
                "" if math.isnan(waiting) else f"{max(waiting, 0):.0%}",
            ]
        )
    head = ["run", "computes", *RATE_NAMES.values(), "waits at 100 Mbit/s"]
    return table(head, rows)


def target_of(runs: Sequence[Run]) -> float:
    """Return the accuracy that these runs of one model have to reach."""
    return TARGETS[runs[0].together["model"]] if runs else math.nan


def accuracy_table(runs: Sequence[Run]) -> str:
    """Show when each run was accurate enough."""
    target = target_of(runs)
    dense = find(runs, "torch", "dense")
    slow = dense.seconds_to(target, "100mbit") if dense else math.nan
    rows = []
    for run in runs:
        seconds = [run.seconds_to(target, rate) for rate in RATES]
        never = math.isinf(run.steps_to(target))
        rows.append(
            [
                run.name,
                f"{max(accuracy for _, accuracy in run.curve):.1%}",
                "never" if never else f"{run.steps_to(target):.0f}",
                *("" if never or math.isnan(s) else f"{s:.1f}" for s in seconds),
                "" if never else times(slow / seconds[-1]),
            ]
        )
    rates = (f"s, {name}" for name in RATE_NAMES.values())
    head = ["run", "best", f"steps to {target:.0%}", *rates, "faster than torch dense"]
    return table(head, rows)


def break_even(run: Run, dense: Run) -> float:
    """Return the rate in bit/s below which a run's steps are faster than dense ones.

    A step takes its computation and the time of its bytes.
    """
    saved = dense.nbytes - run.nbytes
    paid = run.compute - dense.compute
    if math.isnan(paid):
        return math.nan
    return math.inf if paid <= 0 else 8 * saved / paid


def break_even_table(runs: Sequence[Run]) -> str:
    """Show below which rate each compressor pays."""
    rows = []
    for run in runs:
        dense = find(runs, run.library, "dense")
        if dense is None or run.method in ("dense", BARE):
            continue
        rate = break_even(run, dense)
        any_rate = math.isinf(rate)
        rows.append(
            [
                run.name,
                milliseconds(run.compute - dense.compute),
                f"{(dense.nbytes - run.nbytes) / 1e6:.2f}",
                "any" if any_rate else "" if math.isnan(rate) else f"{rate / 1e6:,.0f}",
            ]
        )
    head = ["run", "ms more to compute", "MB less to send", "pays below, Mbit/s"]
    return table(head, rows)


def goals_table(found: dict) -> str:
    """Show what was wanted, and what was measured."""
    rows = []
    for model in MODEL_NAMES:
        runs = runs_of(found, model, 2)
        if not runs:
            continue
        in_turn = found.get("in_turn", {}).get(model)
        name = MODEL_NAMES[model]
        rows += [[f"{name}: {what}", *rest] for what, *rest in goals(runs, in_turn)]
    return table(["goal", "wanted", "measured", "by"], rows)


def goals(runs: Sequence[Run], in_turn: dict | None) -> Iterable[list[str]]:
    """Yield the goals for one model with two hosts: what, wanted, measured, by whom."""
    ours = [run for run in runs if run.library == "jax" and run.method != BARE]
    theirs = [run for run in runs if run.library == "torch" and "hook" in run.method]
    torch, target = find(runs, "torch", "dense"), target_of(runs)

    def slow(run):
        return run.seconds_to(target, "100mbit")

    best = min(ours, key=slow)
    what = f"time to {target:.0%} at 100 Mbit/s"

    def ideal(run):
        return run.steps_to(target) * run.ideal_seconds(1e8)

    if torch:
        ratio = times(slow(torch) / slow(best))
        by = f"{best.method}{idle(ideal(torch) / ideal(best))}"
        yield [f"{what}, times faster than torch dense", "8x", ratio, by]
    if theirs:
        hook = min(theirs, key=slow)
        ratio = times(slow(hook) / slow(best))
        by = f"{hook.method}{idle(ideal(hook) / ideal(best))}"
        yield [
            f"{what}, times faster than torch's best hook",
            "more than 1x",
            ratio,
            by,
        ]
    if in_turn:
        clock, quick, processor = (
            f"{in_turn['dense'][name] / in_turn[BARE][name]:.2f}x"
            for name in ("median_seconds", "quickest_seconds", "median_cpu_seconds")
        )
        what = "dense steps without limit, times a bare pmean, in turn"
        by = f"quickest tenth {quick}, processor's time {processor}"
        yield [what, "at most 1.1x", clock, by]
    worst = max(ours, key=lambda run: excess(run) or 0.0)
    wanted = f"at most {SHARE:.0%} and {CONSTANT:,} bytes"
    measured = "yes" if not excess(worst) else f"{excess(worst):,.0f} bytes more"
    yield ["bytes as reported", wanted, measured, worst.method if excess(worst) else ""]


def idle(ratio: float) -> str:
    """Write what a ratio would be if nothing else ran on the machine."""
    return "" if math.isnan(ratio) else f"; {times(ratio)} if idle"


def excess(run: Run) -> float:
    """Return by how many bytes a step is further from its report than it may be."""
    reported = run.together["reported_bytes"]
    return max(0.0, abs(run.nbytes - reported) - SHARE * reported - CONSTANT)


def conditions_table(found: dict) -> str:
    """Show on what all of it was measured, and how busy that was."""
    loads = [record["load_average"] for record in found["records"]]
    versions = dict.fromkeys(record["version"] for record in found["records"])
    rows = [
        ["processor", f"{found['machine']['cores']} cores, {found['machine']['cpu']}"],
        ["load average", f"{min(loads):.1f} to {max(loads):.1f}"],
        ["versions", "; ".join(versions)],
        ["data", found["dataset"]],
    ]
    return table(["measured with", ""], rows)


TABLES: dict[str, Callable[[dict], str]] = {
    "conditions": conditions_table,
    "goals": goals_table,
    **{
        f"{name} {model}": lambda found, make=make, model=model: make(
            runs_of(found, model, 2)
        )
        for model in MODEL_NAMES
        for name, make in {
            "bytes": bytes_table,
            "steps": steps_table,
            "accuracy": accuracy_table,
            "break-even": break_even_table,
        }.items()
    },
    "bytes of four": lambda found: bytes_table(runs_of(found, "cnn", 4)),
    "steps of four": lambda found: steps_table(runs_of(found, "cnn", 4)),
}


def fill(page: str, found: dict) -> str:
    """Return the page with its tables as the comparison has them."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name not in TABLES:
            raise ValueError(f"The page has a mark for {name!r}, which is no table.")
        return f"<!-- {name} -->\n{TABLES[name](found)}\n<!-- end -->"

    return re.sub(
        r"<!-- ([\w -]+) -->\n.*?<!-- end -->", replace, page, flags=re.DOTALL
    )


def demo(found: dict) -> str:
    """Return what the short comparison has to say."""
    runs, rows = runs_of(found, "cnn", 2), []
    target = target_of(runs)
    for run in runs:
        seconds = run.seconds_to(target, "100mbit")
        rows.append(
            [
                run.name,
                f"{run.nbytes / 1e6:.3f}",
                milliseconds(run.seconds("100mbit")),
                f"{max(accuracy for _, accuracy in run.curve):.1%}",
                "never" if math.isinf(seconds) else f"{seconds:.1f}",
            ]
        )
    head = ["run", "MB sent per step", "ms per step", "best", f"s to {target:.0%}"]
    return table(head, rows)


def draw(found: dict, folder: pathlib.Path) -> None:
    """Draw accuracy against time, and the time of a step against the rate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    models = [model for model in MODEL_NAMES if runs_of(found, model, 2)]
    for name, draw_one in {
        "network_accuracy": _draw_accuracy,
        "network_steps": _draw_steps,
    }.items():
        size = (5.5 * len(models), 5.4)
        figure, (all_axes,) = plt.subplots(1, len(models), figsize=size, squeeze=False)
        handles = {}
        for axes, model in zip(all_axes, models, strict=True):
            shown = [run for run in runs_of(found, model, 2) if run.method in COLORS]
            draw_one(axes, shown)
            axes.set_title(MODEL_NAMES[model])
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            lines, labels = axes.get_legend_handles_labels()
            handles |= dict(zip(labels, lines, strict=True))
        labels = {"labels": list(handles), "handles": list(handles.values())}
        figure.legend(**labels, loc="lower center", ncols=4, frameon=False)
        figure.tight_layout(rect=(0, 0.21, 1, 1))
        figure.savefig(folder / f"{name}.png", dpi=130)
        plt.close(figure)


def _style(run: Run) -> dict[str, Any]:
    line = {"torch": "--", "torchft": ":"}.get(run.library, "-")
    return {"color": COLORS[run.method], "linestyle": line, "label": run.name}


def _draw_accuracy(axes, runs):
    for run in runs:
        steps, accuracies = zip(*run.curve, strict=True)
        seconds = [step * run.seconds("100mbit") for step in steps]
        best = list(itertools.accumulate(accuracies, max))
        axes.plot(seconds, best, **_style(run), linewidth=1.6)
    axes.axhline(target_of(runs), color="black", linewidth=0.6, linestyle=":")
    axes.set(xscale="log", xlabel="seconds at 100 Mbit/s", ylabel="best accuracy")


def _draw_steps(axes, runs):
    rates = [10 ** (1 + i / 20) for i in range(61)]  # Mbit/s
    for run in runs:
        style = _style(run)
        model = [run.ideal_seconds(1e6 * rate) for rate in rates]
        axes.plot(rates, model, **style, linewidth=1.4)
        measured = [run.seconds("100mbit"), run.seconds("1gbit")]
        marker = "x" if run.library == "torch" else "o"
        axes.plot([100, 1000], measured, marker, color=style["color"], markersize=5)
    axes.set(xscale="log", yscale="log", xlabel="Mbit/s", ylabel="seconds per step")


def main() -> None:
    """Fill the page, and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=pathlib.Path)
    parser.add_argument("page", type=pathlib.Path)
    options = parser.parse_args()
    found = load(options.json)
    options.page.write_text(fill(options.page.read_text(), found))
    draw(found, options.json.parent)


if __name__ == "__main__":
    main()
