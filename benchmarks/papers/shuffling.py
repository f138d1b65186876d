"""Check coded shuffling with up to six workers, and compare it with no code.

python benchmarks/papers/shuffling.py out/shuffling.png

First table: all permutations of one point for each of 2 to 6 workers and all numbers of
caches. Each worker decodes random bytes, which must be those of the server. Second
table and picture: eight workers, what a server broadcasts and what a worker receives,
with a code and without.
"""

import argparse
import itertools
import math
import pathlib
import time

import matplotlib
import numpy as np
import pictures

from jaxdist import coding

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WORKERS, DRAWS = 8, 20
COLORS = {"moving": "#1f77b4", "static": "#2ca02c", "uncoded": "#d62728"}


def worst_load(scheme, workers, caches):
    """Return the points that a server broadcasts at most, as the formula says."""
    excess = workers - 1 - caches if scheme == "moving" else workers - caches
    return excess / (caches + 1)


def check_all_permutations(scheme, workers):
    """Return the permutations that were decoded, the mean and worst loads by caches."""
    rng, count, loads = np.random.default_rng(workers), 0, []
    points = rng.integers(0, 256, (workers, 64), np.uint8)
    for caches in range(workers):
        storage = coding.coded_storage(workers, caches, scheme=scheme)
        memories, seen = storage.fill(points), []
        for owners in itertools.permutations(range(workers)):
            plan = coding.shuffle_plan(storage, np.array(owners))
            packets, after = plan.encode(points), plan.after.fill(points)
            for worker, memory in enumerate(memories):
                decoded = plan.decode(worker, packets, memory)
                assert np.array_equal(decoded, after[worker]), (scheme, caches, owners)
            seen.append(plan.load)
            count += 1
        assert math.isclose(max(seen), worst_load(scheme, workers, caches))
        loads.append((np.mean(seen), max(seen)))
    return count, loads


def show_permutations():
    """Print the first table."""
    print("| labels | workers | shuffles, all decoded | worst loads | seconds |")
    print("|---|---:|---:|---|---:|")
    for scheme in ("moving", "static"):
        for workers in range(2, 7):
            begin = time.perf_counter()
            count, loads = check_all_permutations(scheme, workers)
            seconds = time.perf_counter() - begin
            worst = ", ".join(f"{load:.3g}" for _, load in loads)
            print(f"| {scheme} | {workers} | {count} | {worst} | {seconds:.1f} |")
    print("\nMean load of all permutations of six workers, in worst loads, by caches:")
    _, loads = check_all_permutations("moving", 6)
    print(", ".join(f"{mean / worst:.3f}" for mean, worst in loads if worst))


def measure_loads():
    """Return for each number of caches the loads and rooms of eight workers."""
    rng, rows = np.random.default_rng(0), []
    for caches in range(WORKERS):
        found = {"caches": caches}
        for scheme in ("moving", "static"):
            storage = coding.coded_storage(WORKERS, caches, scheme=scheme)
            worst = coding.shuffle_plan(storage, np.roll(np.arange(WORKERS), 1))
            found[f"{scheme} room"] = storage.points_held[0]
            found[scheme] = worst.load
            found[f"{scheme} lacks"] = worst.lacks.max()
            found[f"{scheme} uncoded"] = worst.lacks.sum()
            if scheme == "moving":
                found["drawn"] = [
                    coding.shuffle_plan(storage, rng.permutation(WORKERS)).load
                    for _ in range(DRAWS)
                ]
        rows.append(found)
    return rows


def show_loads(rows):
    """Print the second table."""
    print("| room | broadcast, coded | uncoded | by links, coded | uncoded |")
    print("|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['moving room']:.0f} | {row['moving']:.3f} "
            f"| {row['moving uncoded']:.3f} | {row['moving']:.3f} "
            f"| {row['moving lacks']:.3f} |"
        )


def save_figure(rows, path):
    """Draw what is broadcast, and what comes over the link of one worker."""
    figure, (air, links) = plt.subplots(1, 2, figsize=(10, 4))
    room = [row["moving room"] for row in rows]
    uncoded = [row["moving uncoded"] for row in rows]
    coded = [row["moving"] for row in rows]
    air.plot(room, uncoded, "o-", color=COLORS["uncoded"], label="no code")
    static = [row["static room"] for row in rows], [row["static"] for row in rows]
    air.plot(*static, "s", color=COLORS["static"], label="labels that stay")
    air.plot(room, coded, "o-", color=COLORS["moving"], label="labels that move")
    air.fill_between(room, coded, uncoded, color=COLORS["moving"], alpha=0.12)
    drawn = [(row["moving room"], load) for row in rows for load in row["drawn"]]
    places, loads = zip(*drawn, strict=True)
    label = "the same, random shuffles"
    air.plot(places, loads, ".", color=COLORS["moving"], alpha=0.3, label=label)
    air.set(title="One transmission reaches all: the code wins")
    air.set(ylabel="points that the server broadcasts")
    lacks = [row["moving lacks"] for row in rows]
    links.plot(room, coded, "o-", color=COLORS["moving"], label="labels that move")
    links.plot(room, lacks, "o-", color=COLORS["uncoded"], label="no code")
    links.fill_between(room, lacks, coded, color=COLORS["uncoded"], alpha=0.12)
    links.set(title="Links between pairs: the code loses")
    links.set(ylabel="points that one worker receives")
    for panel in (air, links):
        panel.set(xlabel="points that a worker has room for, of 8")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    pictures.save(figure, path)


def main():
    """Check, compare and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    show_permutations()
    print()
    rows = measure_loads()
    show_loads(rows)
    save_figure(rows, options.out)


if __name__ == "__main__":
    main()
