"""The end of an optimizer: a learning rate, and weights that decay."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdist.optimizers import _descent

COUNT = jnp.asarray(3, jnp.int32)
DIRECTION = {"w": jnp.asarray([1.0, -2.0]), "b": jnp.asarray([4.0])}
PARAMS = {"w": jnp.asarray([10.0, 20.0], jnp.bfloat16), "b": jnp.asarray([1.0])}
GRADIENTS = {"w": jnp.zeros(2, jnp.bfloat16), "b": jnp.zeros(1)}


@pytest.mark.parametrize("rate", [0.5, optax.linear_schedule(2.0, 0.0, 4)])
def test_updates_lead_against_the_direction(rate):
    descent = _descent.checked_descent(rate)
    updates = descent.updates_of(DIRECTION, GRADIENTS, None, COUNT)
    np.testing.assert_array_equal(updates["b"], [-2.0])
    np.testing.assert_array_equal(updates["w"], [-0.5, 1.0])
    assert updates["w"].dtype == jnp.bfloat16


@pytest.mark.parametrize("of", [lambda p: {"w": True, "b": False}, None])
def test_weights_decay_where_the_mask_says_so(of):
    descent = _descent.checked_descent(1.0, 0.1, of)
    updates = descent.updates_of(DIRECTION, GRADIENTS, PARAMS, COUNT)
    np.testing.assert_array_equal(updates["w"], [-2.0, 0.0])
    np.testing.assert_allclose(updates["b"], [-4.0 if of else -4.1], rtol=1e-6)


def test_where_nobody_is_nothing_moves():
    descent = _descent.checked_descent(1.0, 0.1)
    nobody = jnp.asarray(False)
    updates = descent.updates_of(DIRECTION, GRADIENTS, PARAMS, COUNT, nobody)
    assert not any(np.any(leaf) for leaf in updates.values())


def test_decay_needs_parameters():
    descent = _descent.checked_descent(1.0, 0.1)
    with pytest.raises(ValueError, match="`params` are needed for `weight_decay`"):
        descent.updates_of(DIRECTION, GRADIENTS, None, COUNT)
