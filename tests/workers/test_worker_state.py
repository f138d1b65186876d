"""State that differs between workers is marked, attached and detached."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.workers import _worker_state
from tests import harness

STATE = {"count": jnp.zeros((), jnp.int32), "key": jax.random.key(0)}


def test_attach_and_detach():
    attached = _worker_state.attach_axis(STATE, harness.AXIS)
    assert attached.inner_state["count"].shape == (1,)
    assert attached.inner_state["key"].shape == (1,)
    harness.assert_trees_equal(_worker_state.detach_axis(attached), STATE)


def test_attached_state_varies():
    def fn(row):
        state = _worker_state.attach_axis(jnp.zeros(3), harness.AXIS)
        return state.inner_state + row[None]

    out = harness.run(fn, "shard_map", jnp.ones((8, 3)))
    np.testing.assert_array_equal(out, jnp.ones((8, 1, 3)))


def test_fill_and_map_slices_see_the_marks():
    state = {"own": _worker_state.PerWorkerState((1, 2)), "common": [3]}
    filled = _worker_state.fill_marked(state, "W", "-")
    assert filled == {
        "own": _worker_state.PerWorkerState(("W", "W")),
        "common": ["-"],
    }
    doubled = _worker_state.map_slices(lambda x: 2 * x, state)
    assert doubled == {"own": _worker_state.PerWorkerState((2, 4)), "common": [3]}
