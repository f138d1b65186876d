"""What Byzantine workers say is made up for each neighbour, in its shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def run(corrupt, backend="vmap"):
    tx = jd.mix_with_neighbors(harness.AXIS, jd.gossip.ring(), corrupt=corrupt)
    params = {"w": jnp.ones((8, 2), jnp.bfloat16)}
    updates = {"w": jnp.zeros((2, 8, 2), jnp.bfloat16)}
    return harness.run_steps(tx, backend, params, updates)[0]["w"]


def noise(params, sender, receiver, key):
    drawn = jax.random.normal(key, params["w"].shape)
    return {"w": jnp.where(sender == 2, drawn, params["w"].astype(jnp.float32))}


def test_only_neighbours_of_the_liar_move():
    out = np.asarray(run(noise).astype(jnp.float32))
    moved = np.any(out != 0, axis=(1, 2))
    np.testing.assert_array_equal(np.nonzero(moved)[0], [1, 3])
    assert not np.allclose(out[1], out[3])  # each is told something else
    assert not np.allclose(out[1, 0], out[1, 1])  # and again in the next step


def test_backends_agree():
    expected = run(noise).astype(jnp.float32)
    for backend in ("shard_map", "shard_map_no_vma"):
        found = run(noise, backend).astype(jnp.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "made", [{"w": jnp.ones(3)}, {"v": jnp.ones(2)}, jnp.ones(2), {}], ids=repr
)
def test_lies_have_the_shape_of_truth(made):
    with pytest.raises(ValueError, match="`corrupt` must return leaves of the struct"):
        run(lambda params, sender, receiver, key: made)


def test_changes_are_not_corrupted():
    with pytest.raises(ValueError, match="`corrupt` must be None with a `compressor`"):
        jd.mix_with_neighbors(
            "x", jd.gossip.ring(), jd.compression.top_k(0.1), corrupt=noise
        )
