"""States survive a checkpoint bit by bit, under names that never change."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint

from tests import harness
from tests.contract import state_paths, table


def _abstract_state(row):
    params, *_ = table.inputs(row, steps=1)
    state = jax.eval_shape(jax.vmap(row.tx.init, axis_name=harness.AXIS), params)
    # Orbax cannot save arrays without elements.
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, state)


def _filled(tree):
    """Return a tree of these shapes and dtypes, every leaf with numbers of its own."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(rng.integers(99)), leaf.shape)
        numbers = rng.integers(-100, 100, leaf.shape).astype(np.float32)
        return jnp.asarray(numbers / 7).astype(leaf.dtype)

    return jax.tree.map(draw, tree)


def test_every_state_is_restored_bit_by_bit(tmp_path):
    """All rows in one checkpoint; what it restores has the types that a step keeps.

    A step is a function of these bits: tests/contract/test_robustness.py continues.
    """
    states = {row.name: _filled(_abstract_state(row)) for row in table.TRANSFORMATIONS}
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "states", states)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(
            tmp_path / "states", jax.eval_shape(lambda: states)
        )
    harness.assert_trees_equal(restored, states)


def test_names_on_disk_never_change():
    """A difference breaks checkpoints: a line in the changelog, `make state-paths`."""
    assert state_paths.current_paths() == state_paths.SNAPSHOT.read_text()
