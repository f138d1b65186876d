"""Simulate rounds of a server with codes: balanced placement, random, cyclic and none.

python benchmarks/papers/codes.py

W workers, W units of data, r of them on each worker. A worker takes 0.05 seconds and,
on average, 1 second for each of its units, exponentially; messages are free. Random
placements are the coupons of the paper, each drawn again for ten rounds; means are over
those that cover the data. The same batches are placed evenly by ``repetition``. Prints
the tables of docs/coding.md under *When it pays* in a minute on one CPU core.
"""

import argparse
import math

import jax
import numpy as np

import jaxdist as jd

SIZES = ((50, 10), (100, 10), (8, 2), (16, 4))  # workers, load
ROUNDS = 10  # of each placement


def draw_times(rng, rounds, workers, load):
    """Return the seconds ``[rounds, W]`` that workers take."""
    return 0.05 * load + load * rng.exponential(size=(rounds, workers))


def seconds(code, times):
    """Return when the server has the sum, of each round."""
    return np.asarray(jax.vmap(code.finish_time)(times))


def arrivals(code, times):
    """Return how many workers have arrived by then, of each round."""
    moments = seconds(code, times)
    return (times.astype(np.float32) <= moments[:, None]).sum(axis=1)


def balanced_arrivals(workers, batches):
    """Return the expected number of arrivals if each batch is on W/B workers."""
    copies = workers // batches
    return (workers + 1) * sum(
        (-1) ** (j + 1) * math.comb(batches, j) / (j * copies + 1)
        for j in range(1, batches + 1)
    )


def measure(workers, load, placements):
    """Return mean seconds and arrivals by the name of the code."""
    rng = np.random.default_rng(0)
    coupons, counts = [], []
    for key in range(placements):
        args = workers, workers, load, key
        code = jd.coding.batched_coupons(*args, must_cover=False)
        times = draw_times(rng, ROUNDS, workers, load)
        if code.covers:
            coupons.append(seconds(code, times))
            counts.append(arrivals(code, times))
    rounds = placements * ROUNDS
    times = draw_times(rng, rounds, workers, load)
    even = jd.coding.repetition(workers, -(-workers // load))
    alone = draw_times(rng, rounds, workers, 1)
    # Any W - (load - 1) workers are enough for the cyclic code, and never fewer.
    means = {
        "uncoded": alone.max(axis=1).mean(),
        "cyclic": np.sort(times, axis=1)[:, workers - load].mean(),
        "random": np.mean(coupons),
        "balanced": seconds(even, times).mean(),
    }
    return means, np.mean(counts), arrivals(even, times).mean()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--placements", type=int, default=400)
    placements = parser.parse_args().placements
    print("| W, r | uncoded, s | cyclic, s | random, s | balanced, s | uncovered |")
    print("|---|---:|---:|---:|---:|---:|")
    lines = []
    for workers, load in SIZES:
        batches = -(-workers // load)
        means, counted, even = measure(workers, load, placements)
        left_out = 1 - jd.coding.cover_probability(workers, batches)
        row = "".join(f" {value:.2f} |" for value in means.values())
        print(f"| {workers}, {load} |{row} {100 * left_out:.2g} % |", flush=True)
        exact = balanced_arrivals(workers, batches)
        lines.append(
            f"| {workers}, {batches} | {jd.coding.expected_arrivals(batches):.2f} "
            f"| {counted:.2f} | {exact:.2f} | {even:.2f} |"
        )
    print("\n| W, B | random, any W | random, that cover | balanced | simulated |")
    print("|---|---:|---:|---:|---:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
