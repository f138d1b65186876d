"""The names of all states on disk: `make state-paths` writes them."""

import pathlib

import jax

from tests import harness
from tests.contract import table

SNAPSHOT = pathlib.Path(__file__).parent / "state_paths.txt"


def current_paths() -> str:
    """Return a line for each leaf of the state of each row."""
    lines = []
    for row in table.TRANSFORMATIONS:
        params, *_ = table.inputs(row, steps=1)
        state = jax.eval_shape(jax.vmap(row.tx.init, axis_name=harness.AXIS), params)
        lines += [
            f"{row.name}: {jax.tree_util.keystr(path, simple=True, separator='/')}"
            for path, _ in jax.tree.leaves_with_path(state)
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(current_paths())
