"""Any matrix with rows or columns that sum to one is a topology."""

import numpy as np
import pytest

import jaxdist as jd

LEADING = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.25, 0.0, 0.75]])


def test_what_sums_to_one_is_known():
    rows, columns = jd.gossip.graph(LEADING), jd.gossip.graph(LEADING.T)
    assert (rows.rows, rows.columns, rows.symmetric) == (True, False, False)
    assert (columns.rows, columns.columns) == (False, True)
    ring = jd.gossip.graph(jd.gossip.ring().matrix(6).astype(np.float32))
    assert ring.rows and ring.columns and ring.symmetric
    np.testing.assert_allclose(columns.matrix(3), LEADING.T)


def test_several_matrices_are_phases():
    topology = jd.gossip.graph(np.stack([LEADING, np.eye(3)]))
    assert len(topology.phases(3)) == 2 and topology.num_messages(3) == 2 / 3


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 3)), "must have rows or columns .* rows that sum to 3 to 3"),
        (np.eye(3), "must connect all workers, got one in which worker 1 never hears"),
        (-np.eye(3), "must be a square matrix .* of at least 0"),
        ("ring", "must be a square matrix .*got 'ring'"),
    ],
)
def test_what_is_no_mixing_matrix(matrix, message):
    with pytest.raises(ValueError, match=f"`mixing_matrix` {message}"):
        jd.gossip.graph(matrix)
