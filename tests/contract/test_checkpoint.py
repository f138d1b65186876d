"""States survive a checkpoint bit by bit, under names that never change."""

import pathlib

import jax
import orbax.checkpoint
import pytest

from tests import harness
from tests.contract import table

ROWS = pytest.mark.parametrize(
    "row", table.TRANSFORMATIONS, ids=table.names(table.TRANSFORMATIONS)
)
SNAPSHOT = pathlib.Path(__file__).parent / "state_paths.txt"


@ROWS
def test_restored_run_continues_bit_by_bit(row, tmp_path):
    params, updates, extra = table.inputs(row, steps=2)
    for tree in (params, updates):
        tree.pop("empty")  # orbax cannot save arrays without elements
    init = jax.jit(jax.vmap(row.tx.init, axis_name=harness.AXIS))

    @jax.jit
    def step(state, i):
        gradients, named = jax.tree.map(lambda x: x[i], (updates, extra))

        def worker(gradients, state, params, named):
            return row.tx.update(gradients, state, params, **named)

        mapped = jax.vmap(worker, axis_name=harness.AXIS)
        return mapped(gradients, state, params, named)

    _, state = step(init(params), 0)
    saved = {"state": state}
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(
            tmp_path / "state", jax.eval_shape(lambda: saved)
        )["state"]
    harness.assert_trees_equal(restored, state)
    harness.assert_trees_equal(step(restored, 1), step(state, 1))


def _paths():
    lines = []
    for row in table.TRANSFORMATIONS:
        params, *_ = table.inputs(row, steps=1)
        state = jax.eval_shape(jax.vmap(row.tx.init, axis_name=harness.AXIS), params)
        lines += [
            f"{row.name}: {jax.tree_util.keystr(path, simple=True, separator='/')}"
            for path, _ in jax.tree.leaves_with_path(state)
        ]
    return "\n".join(lines) + "\n"


def test_names_on_disk_never_change():
    """A difference breaks checkpoints: it needs a line in the changelog."""
    assert _paths() == SNAPSHOT.read_text()
