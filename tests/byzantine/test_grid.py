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
    jobs = grid.jobs(options())
    assert len(jobs) == 2 * (1 + 2)
    assert {job["attack"] for job in jobs if not job["num_byzantine"]} == {"none"}
    assert [job["seeds"] for job in grid.jobs(options(vmap=True))] == [[0, 1]] * 3


def test_what_the_file_has_is_done():
    (first, *_), record = grid.jobs(options(byzantine=[2])), {"seed": 0}
    record |= {key: value for key, value in first.items() if key != "seeds"}
    assert grid.is_done(first, [record])
    assert not grid.is_done({**first, "seeds": [0, 1]}, [record])
    assert not grid.is_done({**first, "rule": "median"}, [record])
    assert not grid.is_done({**first, "steps": 50}, [record])


def test_rules_and_attacks_fit_each_other():
    for factory in grid.RULES.values():
        rule = factory(2)
        rule.check(12)
        for attack in grid.ATTACKS.values():
            assert isinstance(attack(rule), jd.Attack)
