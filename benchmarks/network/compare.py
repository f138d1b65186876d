"""Measure the whole comparison, and keep what was measured as JSON.

python -m benchmarks.network.compare docs/_static/network.json --torch PYTHON

As root. Every record is written as soon as it is there, and what is there is not
measured again: an interrupted comparison goes on, and `--fresh` begins again.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import sys
import time

from benchmarks.network import in_turn, problem, report, run

SECONDS, GIGABYTES = 400, 5  # the most for one job, and for each of its hosts
LEARN = {
    "cnn": problem.Phase(None, 200, evaluate_every=5),
    "mlp": problem.Phase(None, 80, evaluate_every=10),
}
METHODS = {
    "jax": [
        *("bare pmean", "dense", "float16", "bfloat16 both ways", "int8 both ways"),
        *("signs both ways", "top-1 %", "PowerSGD, rank 1", "PowerSGD, rank 4"),
        "trimmed mean of signs",
    ],
    "torch": ["dense", "fp16 hook", "PowerSGD hook, rank 1", "PowerSGD hook, rank 4"],
}
# With local steps. Their phases are multiples of these.
ROUNDS = {
    "jax": [
        *(
            "local SGD",
            "DiLoCo",
            "local SGD, signs both ways",
            "local SGD, signs, streaming",
        ),
        "SparseLoCo",
    ],
    "torch": ["local SGD"],
    "torchft": ["DiLoCo"],
}
LOCAL_STEPS = 8
WITH_FOUR_HOSTS = {
    "jax": [
        *("dense", "signs both ways", "top-1 %", "PowerSGD, rank 4"),
        "trimmed mean of signs",
    ],
    "torch": ["dense", "PowerSGD hook, rank 4"],
}
ROUNDS_WITH_FOUR_HOSTS = {
    "jax": ["local SGD", "local SGD, signs both ways", "SparseLoCo"],
    "torch": ["local SGD"],
}
DEMO = {
    "jax": ["dense", "float16", "signs both ways", "PowerSGD, rank 4"],
    "torch": ["dense", "fp16 hook", "PowerSGD hook, rank 4"],
}
TEST_IMAGES = {"cnn": 2000, "mlp": 1000}  # fewer where they take long
TIMED = (problem.Phase("1gbit", 12, warm_up=2), problem.Phase("100mbit", 10, warm_up=2))


def pairs(methods: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return each library with each of its methods."""
    return [(library, name) for library, names in methods.items() for name in names]


def jobs() -> list[problem.Job]:
    """Return the whole comparison, the most wanted first."""
    short, out = problem.Phase(None, 14), []
    for model, learn in LEARN.items():
        images = TEST_IMAGES[model]
        for alone, phases in ((False, (learn, *TIMED)), (True, (short,))):
            for library, method in pairs(METHODS):
                job = problem.Job(library, method, model, 2, alone, phases=phases)
                out.append(dataclasses.replace(job, test_images=images))
        out += round_jobs(model)
    for library, method in pairs(WITH_FOUR_HOSTS):
        out.append(problem.Job(library, method, "cnn", 4, phases=(short, *TIMED)))
    phases = timed_rounds()
    for library, method in pairs(ROUNDS_WITH_FOUR_HOSTS):
        out.append(problem.Job(library, method, "cnn", 4, False, LOCAL_STEPS, phases))
    return out


def round_jobs(model: str) -> list[problem.Job]:
    """Return the jobs of two hosts with local steps."""
    learn = dataclasses.replace(LEARN[model], evaluate_every=LOCAL_STEPS)
    (learn,) = run.in_rounds([learn], LOCAL_STEPS)
    short, *timed = timed_rounds()
    out = []
    for alone, phases in ((False, (learn, *timed)), (True, (short,))):
        for library, method in pairs(ROUNDS):
            job = problem.Job(library, method, model, 2, alone, LOCAL_STEPS, phases)
            out.append(dataclasses.replace(job, test_images=TEST_IMAGES[model]))
    return out


def timed_rounds() -> tuple[problem.Phase, ...]:
    """Return five rounds at each rate."""
    rates = None, *(phase.rate for phase in TIMED)
    phases = [problem.Phase(rate, 5 * LOCAL_STEPS) for rate in rates]
    return tuple(run.in_rounds(phases, LOCAL_STEPS))


def demo_jobs() -> list[problem.Job]:
    """Return what shows the point in a few minutes."""
    phases = (problem.Phase("100mbit", 100, evaluate_every=5),)
    return [problem.Job(*pair, "cnn", phases=phases) for pair in pairs(DEMO)]


def key_of(job: problem.Job | dict) -> tuple:
    """Return what tells the jobs of a comparison apart."""
    fields = job if isinstance(job, dict) else vars(job)
    names = ("library", "method", "model", "hosts", "alone")
    return tuple(fields[name] for name in names)


def measure(todo: list[problem.Job], path: pathlib.Path, options) -> dict:
    """Run what is not there yet, and return all there is."""
    pythons = run.interpreters(options.torch)
    found = {"records": []}
    if path.exists() and not options.fresh:
        found = json.loads(path.read_text())
    done = {key_of(record) for record in found["records"]}
    name, dataset = run.load_dataset(options.data_dir)
    found |= {"dataset": name, "machine": machine()}
    place = {key_of(job): i for i, job in enumerate(todo)}
    for job in todo:
        label = f"{job.library} {job.method}, {job.model}, {job.hosts} hosts"
        label += ", alone" * job.alone
        if key_of(job) in done or job.library not in pythons:
            continue
        if not re.search(options.only, label):
            continue
        begin = time.monotonic()
        try:
            record = run.run(job, dataset, pythons, SECONDS, GIGABYTES)
        except RuntimeError as error:
            print(f"{label}: {error}", file=sys.stderr)
            continue
        print(f"{label}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
        found["records"].append(record)
        found["records"].sort(key=lambda record: place.get(key_of(record), len(place)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_text(found))
    return found


def measure_in_turn(found: dict, path: pathlib.Path) -> None:
    """Time dense steps and those of a bare pmean in turn, where that is missing."""
    for model in LEARN:
        if model not in found.setdefault("in_turn", {}):
            found["in_turn"][model] = in_turn.measure(model)
            path.write_text(as_text(found))


def machine() -> dict:
    """Return what the hosts shared."""
    names = re.findall(
        r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text()
    )
    return {"cpu": names[0] if names else "unknown", "cores": os.cpu_count()}


def as_text(found: dict) -> str:
    """Return JSON with one line for each record."""
    head = {name: value for name, value in found.items() if name != "records"}
    records = ",\n".join(json.dumps(record) for record in found["records"])
    return f'{json.dumps(head)[:-1]}, "records": [\n{records}\n]}}\n'


def main() -> None:
    """Measure, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=pathlib.Path, help="JSON file, read and written")
    parser.add_argument("--demo", action="store_true", help="a few minutes' worth")
    parser.add_argument("--fresh", action="store_true", help="forget what is there")
    parser.add_argument("--only", default="", help="regular expression over the jobs")
    run.add_arguments(parser)
    options = parser.parse_args()
    run.require_hosts()
    found = measure(demo_jobs() if options.demo else jobs(), options.path, options)
    if not options.demo:
        measure_in_turn(found, options.path)
    print(report.demo(found) if options.demo else report.goals_table(found))


if __name__ == "__main__":
    main()
