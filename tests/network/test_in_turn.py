"""Two ways to step, in turn."""

from benchmarks.network import in_turn


def test_the_summary_is_of_all_steps():
    times = {"seconds": [3.0, 1.0, 2.0], "cpu_seconds": [0.5, 0.5, 0.7]}
    found = in_turn.summary({"dense": times})["dense"]
    assert found["median_seconds"] == 2.0
    assert 1.0 <= found["quickest_seconds"] < 2.0
    assert found["median_cpu_seconds"] == 0.5
