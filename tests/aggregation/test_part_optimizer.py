"""Parts keep the rank of their leaves, and join to what they were cut from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdist.aggregation import _part_optimizer

TREE = {"w": jnp.arange(35.0).reshape(5, 7), "b": jnp.arange(3.0), "s": jnp.float32(4)}


def test_parts_keep_rank_and_elements():
    def cut(_):
        return _part_optimizer.own_parts(TREE, "w")

    parts = jax.jit(jax.vmap(cut, axis_name="w"))(jnp.zeros(4))
    assert {k: v.shape for k, v in parts.items()} == {
        "w": (4, 1, 9),
        "b": (4, 1),
        "s": (4,),
    }
    for name, leaf in TREE.items():
        flat = np.asarray(parts[name]).reshape(-1)[: leaf.size]
        np.testing.assert_array_equal(flat, np.ravel(leaf))


def test_a_worker_steps_with_its_parts_alone():
    optimizer = _part_optimizer.PartOptimizer(optax.trace(0.5), max_norm=None)

    def worker(scale):
        state = optimizer.init(TREE, "w")
        parts = jax.tree.map(lambda x: scale * x, _part_optimizer.own_parts(TREE, "w"))
        for _ in range(2):
            out, state, has_levels = optimizer.step(parts, state, "w", TREE, {})
            assert not has_levels
        return out, state

    out, state = jax.jit(jax.vmap(worker, axis_name="w"))(jnp.arange(4.0))
    np.testing.assert_array_equal(out["b"][:, 0], np.array([0, 1.5 * 1, 1.5 * 4, 0]))
    np.testing.assert_array_equal(
        state.inner_state.inner_state.trace["b"][:, 0], out["b"]
    )
