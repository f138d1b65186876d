"""The table and the picture of records whose numbers are known."""

import pytest

from benchmarks.byzantine import report


def record(attack, seed, *accuracies, rule="median"):
    return {
        "rule": rule,
        "similarity": 0.0,
        "num_byzantine": 2,
        "attack": attack,
        "seed": seed,
        "accuracies": list(accuracies),
    }


RECORDS = [
    record("mimic", 0, 0.1, 0.6, 0.5),
    record("mimic", 1, 0.1, 0.2, 0.8),
    record("sign flip", 0, 0.3, 0.65, 0.2),
    record("sign flip", 1, 0.3, 0.61, 0.2),
]


def test_the_worst_attack_has_the_lowest_mean_of_the_best():
    (attacks,) = report.best_accuracies(RECORDS).values()
    assert attacks == {"mimic": [0.6, 0.8], "sign flip": [0.65, 0.61]}
    assert report.worst(attacks) == ("sign flip", pytest.approx(0.63))


def test_a_line_of_the_table():
    lines = report.table(RECORDS).splitlines()
    assert lines[0] == "| data | f | rule | mimic | sign flip | worst | seeds |"
    expected = "| sorted labels | 2 | median | 0.700 | 0.630 | 0.630 ± 0.03 | 2 |"
    assert lines[2:] == [expected]


def test_the_worst_is_not_known_before_every_attack():
    some = {**record("mimic", 0, 0.9, rule="krum"), "num_byzantine": 4}
    lines = report.table([*RECORDS, some]).splitlines()
    assert lines[3] == "| sorted labels | 4 | krum | 0.900 |  |  | 1 |"


def test_a_picture(tmp_path):
    path = tmp_path / "map.png"
    report.draw([*RECORDS, record("none", 0, 0.9, rule="mean")], path)
    assert path.read_bytes().startswith(b"\x89PNG")
