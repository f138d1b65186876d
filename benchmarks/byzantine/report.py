"""Draw the trainings under attack as a heat map, and write them as a table.

python -m benchmarks.byzantine.report docs/_static/byzantine.jsonl docs/_byzantine.md

The picture goes to the folder of the first file. A cell is the worst over the attacks
of the best accuracies, each the mean of all seeds. A rule that lacks an attack has no
cell.
"""

import argparse
import collections
import json
import pathlib

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CHANCE = 0.1
DATA = {0.0: "sorted labels", 0.33: "a third alike", 1.0: "iid"}


def best_accuracies(records: list[dict]) -> dict:
    """Return ``{(rule, similarity, f): {attack: [best accuracy of each seed]}}``."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in records:
        cell = (record["rule"], record["similarity"], record["num_byzantine"])
        found[cell][record["attack"]].append(max(record["accuracies"]))
    return found


def worst(attacks: dict) -> tuple[str, float]:
    """Return the attack with the lowest mean accuracy, and that mean."""
    means = {name: float(np.mean(seeds)) for name, seeds in attacks.items()}
    name = min(means, key=means.__getitem__)
    return name, means[name]


def is_whole(cell: dict, attacks: list[str]) -> bool:
    """Whether a rule was trained under every attack, if under any."""
    return "none" in cell or cell.keys() >= set(attacks) - {"none"}


def table(records: list[dict]) -> str:
    """Return a Markdown table with a line for each rule and each kind of trouble."""
    found = best_accuracies(records)
    attacks = list(dict.fromkeys(record["attack"] for record in records))
    columns = ["data", "f", "rule", *attacks, "worst", "seeds"]
    lines = [
        f"| {' | '.join(columns)} |",
        f"|---|---:|---|{'---:|' * (len(columns) - 3)}",
    ]
    for rule, similarity, f in sorted(found, key=lambda cell: (*cell[1:], cell[0])):
        cell = found[rule, similarity, f]
        means = [f"{np.mean(cell[a]):.3f}" if a in cell else "" for a in attacks]
        seeds = min(len(seeds) for seeds in cell.values())
        lowest = _worst_of_seeds(cell) if is_whole(cell, attacks) else ""
        words = [DATA[similarity], f, rule, *means, lowest, seeds]
        lines.append(f"| {' | '.join(map(str, words))} |")
    return "\n".join(lines)


def _worst_of_seeds(cell):
    """Write the lowest mean with the standard deviation between its seeds, if any."""
    attack, mean = worst(cell)
    seeds = cell[attack]
    deviation = f" ± {np.std(seeds, ddof=1):.2f}" if len(seeds) > 1 else ""
    return f"{mean:.3f}{deviation}"


def draw(records: list[dict], path: pathlib.Path) -> None:
    """Draw a line for each rule and a column for each data and number of attackers."""
    attacks = list(dict.fromkeys(record["attack"] for record in records))
    found = {
        place: cell
        for place, cell in best_accuracies(records).items()
        if is_whole(cell, attacks)
    }
    rules = list(dict.fromkeys(rule for rule, _, _ in found))
    columns = sorted({(similarity, f) for _, similarity, f in found})
    values = np.full((len(rules), len(columns)), np.nan)
    figure, axes = plt.subplots(
        figsize=(3 + 1.3 * len(columns), 1.2 + 0.4 * len(rules)), layout="constrained"
    )
    for (rule, *column), cell in found.items():
        i, j = rules.index(rule), columns.index(tuple(column))
        attack, values[i, j] = worst(cell)
        dark = values[i, j] < (CHANCE + 0.9) / 2
        axes.text(
            *(j, i),
            f"{values[i, j]:.2f}\n{attack}",
            color="white" if dark else "black",
            fontsize=7,
            ha="center",
            va="center",
        )
    picture = axes.imshow(values, vmin=CHANCE, vmax=0.9, aspect="auto")
    labels = [f"{DATA[similarity]}\nf = {f}" for similarity, f in columns]
    axes.set_xticks(range(len(columns)), labels)
    axes.set_yticks(range(len(rules)), rules)
    axes.tick_params(length=0)
    figure.colorbar(picture, label="test accuracy under the worst attack")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Write the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("table", type=pathlib.Path)
    options = parser.parse_args()
    records = [json.loads(line) for line in options.path.read_text().splitlines()]
    options.table.write_text(table(records) + "\n")
    draw(records, options.path.with_suffix(".png"))


if __name__ == "__main__":
    main()
