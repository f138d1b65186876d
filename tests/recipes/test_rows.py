"""Rows of workers go with them, rows of places stay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.recipes import _rows

AXIS = "w"


def _state(tx, size):
    return _rows.init_rows(tx, jnp.zeros(6), AXIS, size)


FEEDBACK = jd.compression.error_feedback(jd.compression.top_k(0.5))
CHAIN = optax.chain(
    jd.per_worker(AXIS, optax.trace(0.9)),
    jd.aggregate(AXIS, compressor=FEEDBACK, downlink=FEEDBACK, route="scatter"),
    optax.trace(0.9),
)


def test_what_belongs_to_whom():
    state = _state(CHAIN, 4)
    marks = _rows.map_rows(
        state, lambda leaf: "worker", lambda leaf: "place", lambda leaf: "all"
    )
    assert marks[0].inner_state.trace == "worker"
    assert marks[1].uplink.inner_state.residual == "worker"
    assert marks[1].downlink.inner_state.residual == "place"
    assert marks[1].count == "all"
    assert marks[2].trace == "all"


def test_rows_are_taken_and_put_back():
    everyone, places = _state(CHAIN, 5), _state(CHAIN, 2)
    state = _rows.merge_rows(everyone, places)
    assert state[1].uplink.inner_state.residual.shape == (5, 6)
    assert state[1].downlink.inner_state.residual.shape == (2, 3)
    state = jax.tree.map(
        lambda leaf: (
            jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape)
            if leaf.dtype == jnp.float32
            else leaf
        ),
        state,
    )
    meeting = jnp.array([1, 4])
    rows = _rows.take_rows(state, meeting)
    np.testing.assert_array_equal(
        rows[0].inner_state.trace, state[0].inner_state.trace[meeting]
    )
    np.testing.assert_array_equal(
        rows[1].downlink.inner_state.residual, state[1].downlink.inner_state.residual
    )
    changed = jax.tree.map(
        lambda leaf: -leaf if leaf.dtype == jnp.float32 else leaf, rows
    )
    after = _rows.put_rows(changed, meeting, state)
    sign = jnp.array([1, -1, 1, 1, -1], jnp.float32)[:, None]
    np.testing.assert_array_equal(
        after[0].inner_state.trace, sign * state[0].inner_state.trace
    )
    np.testing.assert_array_equal(after[2].trace, -state[2].trace)


def test_nobody_has_no_row():
    leaf = jnp.arange(6.0).reshape(3, 2)
    nobody = jnp.array([0, 3])
    rows = _rows.take_leaf(leaf, nobody)
    after = _rows.put_leaf(leaf, nobody, rows + 10)
    np.testing.assert_array_equal(after, [[10, 11], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("tx", "wanted"),
    [
        (CHAIN, True),
        (jd.aggregate(AXIS), False),
        (jd.aggregate(AXIS, downlink=FEEDBACK), False),
        (jd.per_worker(AXIS, optax.trace(0.9)), True),
        (optax.trace(0.9), False),
    ],
)
def test_whether_workers_remember_anything(tx, wanted):
    assert _rows.has_rows_of_workers(_state(tx, 3)) == wanted
