"""A link counts the rounds that follow each other, and the bytes once."""

import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    ("algorithm", "route", "rounds"),
    [
        ("ring", "psum", 18),
        ("ring", "gather", 9),
        ("tree", "psum", 8),
        ("tree", "gather", 4),
        ("ring", "scatter", 1),
        ("tree", "permute", 1),
    ],
)
def test_rounds(algorithm, route, rounds):
    link = jd.Link(10, bandwidth=100.0, latency=2.0, algorithm=algorithm)
    assert link.seconds(route, 50.0) == rounds * 2.0 + 0.5


def test_one_worker_waits_for_nobody():
    for algorithm in ("ring", "tree"):
        link = jd.Link(1, bandwidth=1.0, latency=5.0, algorithm=algorithm)
        assert link.seconds("psum", 0.0) == 0


def test_a_flat_ring_of_many_over_a_wan_is_latency():
    """1,024 workers 20 ms apart: 41 seconds, whatever is sent."""
    link = jd.Link(1024, bandwidth=1e12, latency=0.02)
    assert round(link.seconds("psum", 1.0)) == 41
