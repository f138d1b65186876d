"""Keep sparse: what the mask leaves out is zero after every step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd

MASK = {"kernel": np.arange(12).reshape(3, 4) % 3 == 0, "bias": None}
PARAMS = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}


def test_momentum_and_weight_decay_move_no_masked_weight():
    """From weights that are not zero, and with the gradient of a dense network."""
    tx = optax.chain(
        optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9), jd.keep_sparse(MASK)
    )

    def step(carry, gradient):
        params, state = carry
        updates = jax.tree.map(lambda p: jnp.full_like(p, gradient), params)
        updates, state = tx.update(updates, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = (PARAMS, tx.init(PARAMS))
    _, seen = jax.jit(lambda: jax.lax.scan(step, start, jnp.array([1.0, -2.0, 0.5])))()
    assert (np.asarray(seen["kernel"])[:, ~MASK["kernel"]] == 0).all()
    assert (np.asarray(seen["kernel"])[:, MASK["kernel"]] != 0).all()
    assert (np.asarray(seen["bias"]) != 0).all()


@pytest.mark.usefixtures("standard_promotion")  # Adam
def test_sparse_training_over_a_network_is_dense_training_of_what_is_kept():
    """A sum of what a mask keeps is what the mask keeps of the sum."""

    def loss(params, batch):
        seen = batch[0] @ params["kernel"] + params["bias"][None]
        return jnp.mean((seen - batch[1]) ** 2)

    rng = np.random.default_rng(0)
    batch = rng.standard_normal((8, 3)), rng.standard_normal((8, 4))
    batch = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch)
    start = jax.tree.map(jnp.array, PARAMS)
    seen = []
    for compressor in (None, jd.compression.masked(MASK)):
        aggregate = jd.aggregate("data", compressor=compressor)
        tx = optax.chain(aggregate, optax.adam(0.1), jd.keep_sparse(MASK))
        init, step = jd.simulate(loss, tx, 4, "data")
        state = init(jax.tree.map(jnp.copy, start))
        for _ in range(3):
            state, _ = step(state, batch)
        seen.append(state.params)
    for name in PARAMS:
        np.testing.assert_allclose(seen[0][name], seen[1][name], atol=1e-6)
    assert (np.asarray(seen[1]["kernel"])[~MASK["kernel"]] == 0).all()


def test_parameters_are_needed():
    tx = jd.keep_sparse(MASK)
    with pytest.raises(ValueError, match="`params` must be given .*got None"):
        tx.update(PARAMS, tx.init(PARAMS))
