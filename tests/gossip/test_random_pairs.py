"""Every partner is as likely as every other."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.gossip import _random_pairs


@pytest.mark.parametrize("num_workers", [1, 2, 3, 6, 9, 16])
def test_in_a_tournament_each_meets_each_other_once(num_workers):
    rounds = _random_pairs.rounds(num_workers)
    met = sorted(tuple(sorted(pair)) for pairs in rounds for pair in pairs)
    assert met == list(itertools.combinations(range(num_workers), 2))
    for pairs in rounds:
        members = [worker for pair in pairs for worker in pair]
        assert len(set(members)) == len(members) >= num_workers - 1


@pytest.mark.parametrize("num_workers", [8, 16])
def test_squared_differences_shrink_as_expected(num_workers):
    gap = jd.gossip.random_pairs().spectral_gap(num_workers)
    expected = (num_workers - 2) / (2 * (num_workers - 1))
    assert (1 - gap) ** 2 == pytest.approx(expected)


def test_phases_are_drawn_by_the_key():
    def drawn(key):
        topology = jd.gossip.random_pairs(key)
        return [int(topology.phase_of_step(8, jnp.asarray(n))) for n in range(200)]

    counts = np.bincount(drawn(0), minlength=7)
    assert len(counts) == 7 and counts.min() > 15
    assert drawn(0) == drawn(0) != drawn(1)
    assert repr(jd.gossip.random_pairs(jnp.uint32(3))) == "random_pairs(...)"
