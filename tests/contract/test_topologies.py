"""Every topology is made of permutations, and its matrices mix."""

import numpy as np
import pytest

from tests import harness
from tests.contract import table

EVERY = pytest.mark.parametrize(
    "topology", table.TOPOLOGIES, ids=table.names(table.TOPOLOGIES)
)
NUM_WORKERS = harness.NUM_WORKERS


@EVERY
def test_each_worker_sends_to_one_other_at_a_time(topology):
    for phase in topology.phases(NUM_WORKERS):
        for sources, weights in zip(phase.sources, phase.weights, strict=True):
            hears = sources != np.arange(NUM_WORKERS)
            assert len(set(sources[hears])) == hears.sum()
            np.testing.assert_array_equal(weights > 0, hears)


@EVERY
def test_the_mean_stays_and_nobody_counts_less_than_nothing(topology):
    for number in range(len(topology.phases(NUM_WORKERS))):
        matrix = topology.matrix(NUM_WORKERS, number)
        assert matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)
        assert not topology.symmetric or np.allclose(matrix, matrix.T)


@EVERY
def test_differences_vanish_at_the_rate_of_the_gap(topology):
    if topology.key is not None:
        return  # a rate of random phases is one on average
    matrices = [x.matrix for x in topology.phases(NUM_WORKERS)]
    rows = np.random.default_rng(0).standard_normal((NUM_WORKERS, 5))
    rows -= rows.mean(axis=0)
    start = np.linalg.norm(rows)
    for step in range(60):
        rows = matrices[step % len(matrices)] @ rows
    bound = (1 - topology.spectral_gap(NUM_WORKERS)) ** 60
    assert np.linalg.norm(rows) <= 2 * start * bound + 1e-12


@EVERY
def test_a_topology_is_a_table(topology):
    header, *rows = str(topology).splitlines()[1:]
    assert header.split()[:2] == ["workers", "neighbours"]
    assert any(row.split()[0] == str(NUM_WORKERS) for row in rows)


@EVERY
def test_one_worker_is_alone_where_any_number_may_be(topology):
    if topology.num_workers is None:
        np.testing.assert_array_equal(topology.matrix(1), [[1.0]])
