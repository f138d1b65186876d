"""Train under attack, rule by rule; the results go into a JSON file, one a line.

python -m benchmarks.byzantine.grid docs/_static/byzantine.jsonl

What the file has already is not trained again. Each run has one core.
"""

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import pathlib
import time

import tqdm

import jaxdist as jd
from benchmarks.byzantine import problem
from examples import datasets


def _mixed_trimmed_mean(f):
    return jd.nnm(f, then=jd.trimmed_mean(f))


DATA = ["fashion-mnist", "mnist"]
RULES = {
    "mean": lambda f: jd.mean(),
    "median": lambda f: jd.median(),
    "trimmed mean": jd.trimmed_mean,
    "geometric median": lambda f: jd.geometric_median(),
    "multi-Krum": jd.multi_krum,
    "CAF": jd.caf,
    "SMEA": jd.smea,
    "centered clipping": lambda f: jd.centered_clipping(1.0, 3),
    "ARC + mean": lambda f: jd.arc(f, then=jd.mean()),
    "NNM + trimmed mean": _mixed_trimmed_mean,
    "clipping + NNM + trimmed mean": lambda f: jd.clipping(
        2.0, then=_mixed_trimmed_mean(f)
    ),
    "ARC + NNM + trimmed mean": lambda f: jd.arc(f, then=_mixed_trimmed_mean(f)),
    "ARC + NNM + geometric median": lambda f: jd.arc(
        f, then=jd.nnm(f, then=jd.geometric_median())
    ),
    "ARC + SMEA": lambda f: jd.arc(f, then=jd.smea(f)),
}


def _searching(attack):
    """Return the attack that looks for the worst shift for this rule."""
    return lambda rule: attack(rule, num_magnitudes=6, num_refinements=2)


ATTACKS = {
    "sign flip": lambda rule: jd.sign_flip(of="mean"),
    "mimic": lambda rule: jd.mimic(),
    "optimal IPM": _searching(jd.optimal_inner_product_manipulation),
    "optimal ALIE": _searching(jd.optimal_a_little_is_enough),
}


def jobs(options) -> list[dict]:
    """Return what to train, the seeds of a job in one program."""
    seeds = range(options.seeds)
    groups = [list(seeds)] if options.vmap else [[seed] for seed in seeds]
    grid = itertools.product(
        groups, options.similarities, options.byzantine, options.rules
    )
    return [
        {
            "seeds": group,
            "data": options.data,
            "steps": options.steps,
            "similarity": similarity,
            "num_byzantine": f,
            "rule": rule,
            "attack": attack,
        }
        for group, similarity, f, rule in grid
        for attack in (options.attacks if f else ["none"])
    ]


def _without_seeds(job):
    """Return what tells a record from those of other jobs."""
    return {name: value for name, value in job.items() if name != "seeds"}


def train(job: dict, directory: str | None) -> list[dict]:
    """Train with each seed of a job; return a record for each."""
    start = time.perf_counter()
    f = job["num_byzantine"]
    rule = RULES[job["rule"]](f)
    attack = ATTACKS[job["attack"]](rule) if f else None
    accuracies = problem.trainer(
        datasets.load(job["data"], directory),
        problem.Setting(rule, attack, f),
        job["similarity"],
        job["steps"],
    )(job["seeds"])
    seconds = (time.perf_counter() - start) / len(accuracies)
    return [
        {
            **_without_seeds(job),
            "seed": seed,
            "seconds": round(seconds),
            "accuracies": [round(float(accuracy), 4) for accuracy in row],
        }
        for seed, row in zip(job["seeds"], accuracies, strict=True)
    ]


def _take_a_core(cores):
    """Keep this process on a core of its own."""
    os.sched_setaffinity(0, {cores.get()})


def is_done(job, records):
    """Whether all seeds of a job are in the file."""
    wanted = _without_seeds(job).items()
    done = {record["seed"] for record in records if wanted <= record.items()}
    return done >= set(job["seeds"])


def main() -> None:
    """Train what is missing, as many runs at once as there are cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--data", default=DATA[0], choices=DATA)
    parser.add_argument("--data-dir")
    parser.add_argument("--steps", type=int, default=problem.STEPS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--byzantine", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--similarities", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument(
        "--vmap", action="store_true", help="all seeds in one program, for a GPU"
    )
    options = parser.parse_args()
    records = []
    if options.path.exists():
        records = [json.loads(line) for line in options.path.read_text().splitlines()]
    missing = [job for job in jobs(options) if not is_done(job, records)]
    context = multiprocessing.get_context("spawn")
    cores, free = context.Queue(), os.sched_getaffinity(0)
    for core in free:
        cores.put(core)
    with (
        concurrent.futures.ProcessPoolExecutor(
            len(free), context, _take_a_core, (cores,)
        ) as pool,
        options.path.open("a") as file,
    ):
        running = [pool.submit(train, job, options.data_dir) for job in missing]
        finished = concurrent.futures.as_completed(running)
        for future in tqdm.tqdm(finished, total=len(running)):
            for record in future.result():
                print(json.dumps(record), file=file, flush=True)


if __name__ == "__main__":
    main()
