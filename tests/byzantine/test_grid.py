"""What is trained, and that what is done is not trained again."""

import argparse

import jaxdist as jd
from benchmarks.byzantine import grid


def options(**changed):
    defaults = {
        "seeds": 2,
        "data": "mnist",
        "steps": 800,
        "similarities": [0.0],
        "byzantine": [0, 2],
        "rules": ["mean"],
        "attacks": ["mimic", "sign flip"],
        "vmap": False,
    }
    return argparse.Namespace(**{**defaults, **changed})


def test_every_seed_meets_every_attack():
    jobs = grid.jobs(options(), [])
    assert [(job["num_byzantine"], job["attacks"]) for job in jobs] == [
        (0, ["none"]),
        (2, ["mimic"]),
        (2, ["sign flip"]),
    ]
    assert all(job["seeds"] == [0, 1] for job in jobs)
    together = grid.jobs(options(vmap=True), [])
    assert [job["attacks"] for job in together] == [["none"], ["mimic", "sign flip"]]


def test_what_the_file_has_is_done():
    wanted = options(byzantine=[2])
    first, second = grid.jobs(wanted, [])
    records = [
        {**run, "seconds": 1, "accuracies": [0.5]} for run in grid.runs(first, seed=0)
    ]
    assert grid.jobs(wanted, records) == [{**first, "seeds": [1]}, second]
    assert grid.jobs(options(byzantine=[2], seeds=1, attacks=["mimic"]), records) == []
    for other in ({"rules": ["median"]}, {"steps": 50}, {"similarities": [1.0]}):
        changed = grid.jobs(options(byzantine=[2], **other), records)
        assert [job["seeds"] for job in changed] == [[0, 1]] * 2


def test_rules_and_attacks_fit_each_other():
    for factory in grid.RULES.values():
        rule = factory(2)
        rule.check(12)
        for attack in grid.ATTACKS.values():
            assert isinstance(attack(rule), jd.Attack)
