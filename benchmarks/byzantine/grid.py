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
from collections.abc import Sequence

import numpy as np
import tqdm

import jaxdist as jd
from benchmarks.byzantine import problem
from examples import datasets


def _mixed_trimmed_mean(f):
    return jd.rules.nnm(f, then=jd.rules.trimmed_mean(f))


DATA = ["fashion-mnist", "mnist"]
RULES = {
    "mean": lambda f: jd.rules.mean(),
    "median": lambda f: jd.rules.median(),
    "trimmed mean": jd.rules.trimmed_mean,
    "geometric median": lambda f: jd.rules.geometric_median(),
    "multi-Krum": jd.rules.multi_krum,
    "CAF": jd.rules.caf,
    "SMEA": jd.rules.smea,
    "centered clipping": lambda f: jd.rules.centered_clipping(1.0, 3),
    "ARC + mean": lambda f: jd.rules.arc(f, then=jd.rules.mean()),
    "NNM + trimmed mean": _mixed_trimmed_mean,
    "clipping + NNM + trimmed mean": lambda f: jd.rules.clipping(
        2.0, then=_mixed_trimmed_mean(f)
    ),
    "ARC + NNM + trimmed mean": lambda f: jd.rules.arc(f, then=_mixed_trimmed_mean(f)),
    "ARC + NNM + geometric median": lambda f: jd.rules.arc(
        f, then=jd.rules.nnm(f, then=jd.rules.geometric_median())
    ),
    "ARC + SMEA": lambda f: jd.rules.arc(f, then=jd.rules.smea(f)),
}


def _searching(attack):
    """Return the attack that looks for the worst shift for this rule."""
    return lambda rule: attack(rule, num_magnitudes=6, num_refinements=2)


ATTACKS = {
    "sign flip": lambda rule: jd.attacks.sign_flip(of="mean"),
    "mimic": lambda rule: jd.attacks.mimic(),
    "optimal IPM": _searching(jd.attacks.optimal_inner_product_manipulation),
    "optimal ALIE": _searching(jd.attacks.optimal_a_little_is_enough),
}


def jobs(options, records: Sequence[dict]) -> list[dict]:
    """Return the programs that train what the records lack."""
    done = [_without(record, "seconds", "accuracies") for record in records]
    programs = [
        {
            "data": options.data,
            "steps": options.steps,
            "similarity": similarity,
            "num_byzantine": f,
            "rule": rule,
            "attacks": attacks,
        }
        for similarity, f, rule in itertools.product(
            options.similarities, options.byzantine, options.rules
        )
        for attacks in _attacks_of_a_program(options, f)
    ]
    for program in programs:
        program["seeds"] = [
            seed
            for seed in range(options.seeds)
            if any(run not in done for run in runs(program, seed))
        ]
    return [program for program in programs if program["seeds"]]


def _attacks_of_a_program(options, f):
    attacks = options.attacks if f else ["none"]
    return [attacks] if options.vmap else [[attack] for attack in attacks]


def _without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def runs(job: dict, seed: int) -> list[dict]:
    """Return the records of a job, one for each attack, before there are results."""
    common = _without(job, "attacks", "seeds")
    return [{**common, "attack": attack, "seed": seed} for attack in job["attacks"]]


def train(job: dict, directory: str | None, vmap: bool = False) -> list[dict]:
    """Train with each attack and each seed of a job; return a record for each."""
    start = time.perf_counter()
    f = job["num_byzantine"]
    rule = RULES[job["rule"]](f)
    attacks = [ATTACKS[name](rule) for name in job["attacks"]] if f else []
    train_from = problem.trainer(
        datasets.load(job["data"], directory),
        problem.Setting(rule, attacks, f),
        job["similarity"],
        job["steps"],
    )
    seeds = job["seeds"]
    groups = [seeds] if vmap else [[seed] for seed in seeds]
    accuracies = np.concatenate([train_from(group) for group in groups], axis=1)
    seconds = round((time.perf_counter() - start) / accuracies[..., 0].size)
    return [
        {
            **run,
            "seconds": seconds,
            "accuracies": [round(float(accuracy), 4) for accuracy in row],
        }
        for seed, rows in zip(seeds, accuracies.swapaxes(0, 1), strict=True)
        for run, row in zip(runs(job, seed), rows, strict=True)
    ]


def _take_a_core(cores):
    """Keep this process on a core of its own."""
    os.sched_setaffinity(0, {cores.get()})


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
        "--vmap", action="store_true", help="attacks and seeds at once, for a GPU"
    )
    options = parser.parse_args()
    records = []
    if options.path.exists():
        records = [json.loads(line) for line in options.path.read_text().splitlines()]
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
        running = [
            pool.submit(train, job, options.data_dir, options.vmap)
            for job in jobs(options, records)
        ]
        finished = concurrent.futures.as_completed(running)
        for future in tqdm.tqdm(finished, total=len(running)):
            for record in future.result():
                print(json.dumps(record), file=file, flush=True)


if __name__ == "__main__":
    main()
