"""Tables from JSON, and pages from tables."""

import math
import pathlib

import pytest

from benchmarks.network import report

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def record(library, method, slow, fast, sent, accuracies=(), **changes):
    def phase(rate, seconds, steps):
        return {
            "rate": rate, "steps": steps, "median_seconds": seconds,
            "median_cpu_seconds": seconds,
            "sent_bytes": sent * 1.05, "header_bytes": sent * 0.05, "accuracies": [],
        }  # fmt: skip

    learned = {**phase(None, fast, 50), "accuracies": accuracies}
    return {
        "library": library, "method": method, "model": "cnn", "hosts": 2,
        "alone": False, "load_average": 1.5, "version": library,
        "reported_bytes": None if library == "torch" else sent,
        "phases": [learned, phase("100mbit", slow, 10)], **changes,
    }  # fmt: skip


def alone(library, method, seconds):
    return record(library, method, math.nan, seconds, 0, alone=True)


FOUND = {
    "dataset": "digits",
    "machine": {"cpu": "abacus", "cores": 3},
    "records": [
        record("jax", "bare pmean", 1.0, 0.1, 1e7, [[10, 0.7], [20, 0.85]]),
        record("jax", "dense", 1.1, 0.1, 1e7, [[10, 0.7], [20, 0.85]]),
        record("jax", "signs both ways", 0.2, 0.12, 1e6, [[10, 0.5], [50, 0.9]]),
        record("torch", "dense", 2.0, 0.1, 1e7, [[10, 0.7], [20, 0.86]]),
        record("torch", "fp16 hook", 1.0, 0.1, 5e6, [[10, 0.7]]),
        alone("jax", "dense", 0.1),
        alone("jax", "signs both ways", 0.15),
    ],
}
RUNS = report.runs_of(FOUND, "cnn", 2)


def test_runs_find_what_was_measured_alone():
    assert [run.method for run in RUNS][:3] == [
        "bare pmean",
        "dense",
        "signs both ways",
    ]
    assert [run.compute for run in RUNS[1:3]] == [0.1, 0.15]
    assert math.isnan(RUNS[0].compute)
    assert report.runs_of(FOUND, "mlp", 2) == []


def test_time_to_accuracy_is_steps_times_the_time_of_a_step():
    signs = report.find(RUNS, "jax", "signs both ways")
    assert signs.steps_to(0.8) == pytest.approx(40)
    assert signs.steps_to(0.25) == pytest.approx(5)
    assert signs.seconds_to(0.8, "100mbit") == pytest.approx(8)
    assert math.isinf(report.find(RUNS, "torch", "fp16 hook").steps_to(0.8))


def test_break_even_is_where_both_steps_take_as_long():
    dense, signs = (report.find(RUNS, "jax", m) for m in ("dense", "signs both ways"))
    rate = report.break_even(signs, dense)
    times = [run.compute + 8 * run.nbytes / rate for run in (dense, signs)]
    assert times[0] == pytest.approx(times[1])
    assert times[0] == pytest.approx(dense.ideal_seconds(rate))
    assert math.isinf(report.break_even(signs._replace(alone=dense.alone), dense))


def test_goals_say_what_was_measured_and_by_whom():
    one, other = (
        {"median_seconds": s, "quickest_seconds": 1.0, "median_cpu_seconds": 2.0}
        for s in (4.0, 5.0)
    )
    goals = list(report.goals(RUNS, {"bare pmean": one, "dense": other}))
    assert goals[0][2] == "4.2x"
    assert goals[0][3] == "signs both ways"
    assert report.idle(2.5) == "; 2.5x if idle" and report.idle(math.nan) == ""
    assert goals[1][2] == "never"
    assert goals[1][3] == "fp16 hook"
    assert goals[2][2:] == ["1.25x", "quickest tenth 1.00x, processor's time 1.00x"]
    assert goals[3][2] == "yes"


def test_bytes_may_exceed_the_report_by_a_share_and_a_constant():
    (run,) = report.runs_of({"records": [record("jax", "x", 1, 1, 1e6)]}, "cnn", 2)
    assert report.excess(run) == 0
    run.together["reported_bytes"] = 1e6 / 1.04
    expected = 1e6 - 1.03e6 / 1.04 - report.CONSTANT
    assert report.excess(run) == pytest.approx(expected)


def test_a_page_is_filled_between_its_marks():
    page = "above\n<!-- bytes cnn -->\nold\n<!-- end -->\nbelow\n"
    filled = report.fill(page, FOUND)
    assert filled.startswith("above\n<!-- bytes cnn -->\n| run |")
    assert "old" not in filled and filled.endswith("<!-- end -->\nbelow\n")
    assert "| jaxdist, signs both ways | 1,000,000 | 1,000,000 | +0 | +0.0% |" in filled
    assert report.fill(filled, FOUND) == filled


def test_an_unknown_mark_says_so():
    with pytest.raises(ValueError, match="'nothing'"):
        report.fill("<!-- nothing -->\n<!-- end -->", FOUND)


def test_every_table_can_be_made():
    for make in report.TABLES.values():
        assert make(FOUND).startswith("| ")
    assert "| load average | 1.5 to 1.5 |" in report.conditions_table(FOUND)
    assert "| torch, fp16 hook | 5.000 | 1,000 | 70.0% | never |" in report.demo(FOUND)


def test_the_pictures_are_drawn(tmp_path):
    report.draw(FOUND, tmp_path)
    for name in ("network_accuracy", "network_steps"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_the_page_shows_the_stored_numbers():
    page = (DOCS / "network.md").read_text()
    assert page == report.fill(page, report.load(DOCS / "_static" / "network.json"))
