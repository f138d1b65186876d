"""Control variate: exact at the fixed point, and one message over a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS
REFERENCE = {"w": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(0.5, jnp.bfloat16)}
PARAMS = jax.tree.map(jnp.zeros_like, REFERENCE)


def test_at_the_fixed_point_every_batch_gives_the_whole_gradient():
    tx = jd.sgmcmc.control_variate(REFERENCE)
    of_batch = {"w": jnp.asarray([7.0, 8.0]), "b": jnp.asarray(3.0, jnp.bfloat16)}
    state = tx.init(PARAMS)
    updates, state = tx.update(of_batch, state, reference_updates=of_batch)
    harness.assert_trees_equal(updates, REFERENCE)
    moved = jax.tree.map(lambda leaf: leaf + 1, of_batch)
    updates, _ = tx.update(moved, state, reference_updates=of_batch)
    harness.assert_trees_equal(updates, jax.tree.map(lambda x: x + 1, REFERENCE))


def test_state_is_no_alias_of_the_reference():
    """A donated state must not take the user's gradient with it."""
    tx = jd.sgmcmc.control_variate(REFERENCE)
    state = tx.init(PARAMS)
    step = jax.jit(
        lambda s: tx.update(PARAMS, s, reference_updates=PARAMS)[1], donate_argnums=0
    )
    step(step(state))
    assert not REFERENCE["w"].is_deleted() and REFERENCE["w"][0] == 1


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_differences_travel_and_are_compressed(backend):
    rng = np.random.default_rng(0)
    at_mode = jnp.asarray(rng.standard_normal((8, 6)), jnp.float32)
    signs = jnp.asarray(rng.choice([-1.0, 1.0], (8, 6)), jnp.float32)
    reference = jnp.mean(at_mode, axis=0)
    inner = jd.aggregate(AXIS, compressor=jd.compression.scaled_sign())
    tx = jd.sgmcmc.control_variate(reference, inner)

    def worker(gradient, at_mode):
        state = tx.init(jnp.zeros(6))
        return tx.update(gradient, state, reference_updates=at_mode)[0]

    found = harness.run(worker, backend, at_mode + 0.1 * signs, at_mode)
    wanted = reference + 0.1 * jnp.mean(signs, axis=0)  # signs lose nothing of these
    np.testing.assert_allclose(found, np.tile(wanted, (8, 1)), rtol=1e-5, atol=1e-6)


def test_what_is_missing_or_other_says_so():
    tx = jd.sgmcmc.control_variate(REFERENCE)
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match="needs `reference_updates`"):
        tx.update(PARAMS, state)
    with pytest.raises(ValueError, match="`reference_updates` must be a tree like"):
        tx.update(PARAMS, state, reference_updates={"w": jnp.zeros(2)})
    with pytest.raises(ValueError, match="`reference_gradient` must be a tree like"):
        tx.init({"w": jnp.zeros(3), "b": jnp.zeros(())})
