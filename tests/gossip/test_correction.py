"""Corrections are found by name, and start at zero."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import _tree
from jaxdist.gossip import _correction

PARAMS = {"b": jnp.ones(2, jnp.bfloat16), "a": {"c": jnp.ones((3, 1))}}


def test_they_start_at_zero_in_float32():
    state = _correction.init_correction(PARAMS, "x")
    found = _correction.load_correction(PARAMS, state)
    assert [leaf.shape for leaf in found] == [(3, 1), (2,)]
    assert all(leaf.dtype == jnp.float32 and not leaf.any() for leaf in found)


def test_others_are_refused():
    state = _correction.init_correction(PARAMS, "x")
    with pytest.raises(ValueError, match=r"no correction of shape \(4,\) for 'b'"):
        _correction.load_correction({"b": jnp.ones(4)}, state)
    plain = jd.PerWorkerState({"b": jnp.ones((1, 4))})
    assert _correction.load_correction({"b": jnp.ones(4)}, plain)[0].shape == (4,)


def test_moves_are_added():
    found = _correction.add_moves([jnp.ones(2)], [jnp.full(2, 4.0)], 0.5)
    np.testing.assert_array_equal(found[0], [3, 3])


def test_states_are_found_in_other_containers():
    made = jd.PerWorkerState({"b": jnp.ones((1, 2)), "none": ()})
    found = _tree.arrange_made(
        {"inner_state": {"b": jnp.zeros((1, 2))}}, lambda _: made, None
    )
    assert isinstance(found, jd.PerWorkerState) and found.inner_state["none"] == ()
    assert _tree.arrange_made(made, None, None) is made
