"""What a topology says of itself."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_a_table_says_what_it_costs_and_how_fast_it_is():
    lines = str(jd.gossip.ring()).splitlines()
    assert lines[0] == "ring()" and lines[1].startswith("workers neighbours")
    assert lines[3].split() == ["8", "2", "1", "2", "1.14", "0.195"]
    assert str(jd.gossip.torus(2, 4)).splitlines()[2].split()[0] == "8"
    assert "4  not for so many" in str(jd.gossip.circulant(2, 6))
    assert repr(jd.gossip.circulant(1, 3)) == "circulant(1, 3)"


def test_the_gap_of_phases_is_that_of_their_product():
    cross, along = np.kron(_HALF, np.eye(2)), np.kron(np.eye(2), _HALF)
    topology = jd.gossip.graph(np.stack([cross, along]))
    assert topology.spectral_gap(4) == 1.0
    twice = jd.gossip.graph(np.stack([jd.gossip.ring().matrix(8)] * 2))
    assert twice.spectral_gap(8) == pytest.approx(jd.gossip.ring().spectral_gap(8))
    assert jd.gossip.ring().spectral_gap(1) == 1.0


_HALF = np.full((2, 2), 0.5)


def test_phases_take_turns():
    topology = jd.gossip.one_peer_exponential()
    found = [int(topology.phase_of_step(8, jnp.asarray(n))) for n in range(5)]
    assert found == [0, 1, 2, 0, 1]


def test_wrong_sizes_and_numbers():
    with pytest.raises(ValueError, match=r"`num_workers` must be 16 .*torus.*got 12"):
        jd.gossip.torus(4, 4).matrix(12)
    with pytest.raises(ValueError, match=r"`phase` must be in \[0, 0\], got 1"):
        jd.gossip.ring().matrix(4, phase=1)
    with pytest.raises(ValueError, match=r"`num_workers` must be an integer >= 1"):
        jd.gossip.ring().degree(0)
    with pytest.raises(ValueError, match="must connect all workers, got one of 6 in"):
        jd.gossip.circulant(2).degree(6)


def graph_of(edges):
    """Return a graph with the methods of networkx by which it is read."""
    nodes = ["a", "b", "c"]

    def adjacency():
        for node in nodes:
            yield node, {v: data for (u, v), data in edges.items() if u == node}

    return types.SimpleNamespace(nodes=nodes, adjacency=adjacency)


def test_an_edge_leads_from_who_is_heard():
    edges = {("a", "b"): 0.25, ("b", "c"): 0.5, ("c", "a"): 0.75}
    own = {(x, x): 1 - w for (_, x), w in edges.items()}
    weighted = {pair: {"weight": w} for pair, w in (edges | own).items()}
    topology = jd.gossip.graph(graph_of(weighted))
    expected = [[0.25, 0, 0.75], [0.25, 0.75, 0], [0, 0.5, 0.5]]
    np.testing.assert_allclose(topology.matrix(3), expected)
    assert topology.rows and not topology.columns and not topology.symmetric


def test_graphs_of_networkx_go_in():
    networkx = pytest.importorskip("networkx")
    random = networkx.erdos_renyi_graph(12, 0.4, seed=1)
    matrix = jd.gossip.metropolis(random).matrix(12)
    expected = networkx.to_numpy_array(random) > 0
    np.testing.assert_array_equal((matrix > 0) & ~np.eye(12, dtype=bool), expected)
