"""Compare what jaxdist.plan says of a step with the measurements of docs/network.md.

python -m benchmarks.network.planned [FILE]

Only the file is read; nothing is measured. A step's own time is the one without a limit
of the rate, and headers take 4.5 % of the rate. Prints the table of docs/planning.md.
"""

import argparse
import json
import statistics
from typing import Any

import jaxdist as jd
from benchmarks.network import jax_worker, problem

RATES = {"1gbit": 125e6, "100mbit": 12.5e6}  # bytes per second
HEADERS = 1.045  # times the payload
IMAGES = {"fashion-mnist": (28, 28, 1), "digits": (8, 8, 1)}
LOCAL_STEPS = 8
CLOSE = 0.15


def candidate(method: str, world: int) -> Any:
    """Return what is planned: these processors overlap nothing."""
    if method not in jax_worker.ROUNDS:
        return jd.Candidate(jax_worker.METHODS[method](world))
    options = jax_worker.ROUNDS[method]
    pieces = 2 if "fragments" in options else 1
    return jd.Candidate(options["outer"], local_steps=LOCAL_STEPS, fragments=pieces)


def compare(record: dict, images: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    """Return the predicted and the measured seconds at each rate."""
    measured = {one["rate"]: one["median_seconds"] for one in record["phases"]}
    params = problem.initial_params(record["model"], images, 0)
    found = {}
    for rate, bandwidth in RATES.items():
        links = {jax_worker.AXIS: jd.Link(record["hosts"], bandwidth / HEADERS)}
        chosen = candidate(record["method"], record["hosts"])
        # Of PowerSGD, a step after its two dense ones.
        step = jd.plan(chosen, params, links, measured[None], step=9).first
        found[rate] = step.seconds, measured[rate]
    return found


def main() -> None:
    """Print a row for each method, and how many predictions are close."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", default="docs/_static/network.json")
    found = json.load(open(parser.parse_args().file))
    images = IMAGES[found["dataset"]]
    ratios = []
    print(
        "| model | hosts | method | 100 Mbit/s | of measured | 1 Gbit/s | of measured |"
    )
    print("|---|---:|---|---:|---:|---:|---:|")
    for record in found["records"]:
        if record["library"] != "jax" or record["alone"]:
            continue
        if record["method"] == jax_worker.BARE:
            continue
        cells, compared = [], compare(record, images)
        for rate in ("100mbit", "1gbit"):
            planned, measured = compared[rate]
            ratios.append(planned / measured)
            cells += [f"{1000 * planned:.0f} ms", f"{planned / measured:.2f}"]
        name = record["model"].upper(), str(record["hosts"]), record["method"]
        print(f"| {' | '.join([*name, *cells])} |", flush=True)
    off = [abs(ratio - 1) for ratio in ratios]
    print(
        f"\n{sum(each < CLOSE for each in off)} of {len(off)} within {CLOSE:.0%}, "
        f"median {statistics.median(off):.1%} off"
    )


if __name__ == "__main__":
    main()
