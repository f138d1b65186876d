"""Renaming the workers renames the results, or changes nothing."""

import jax
import numpy as np

from tests import harness
from tests.contract import table

ROWS = [row for row in table.TRANSFORMATIONS if row.symmetry]
ORDER = np.array([3, 0, 7, 1, 6, 2, 5, 4])


@table.each(ROWS)
def test_permuting_workers(row):
    params, updates, extra = table.inputs(row)
    expected, _ = harness.run_steps(row.tx, "vmap", params, updates, extra)
    permuted = (
        jax.tree.map(lambda x: x[ORDER], params),
        *jax.tree.map(lambda x: x[:, ORDER], (updates, extra)),
    )
    actual, _ = harness.run_steps(row.tx, "vmap", *permuted)
    if row.symmetry == "equivariant":
        expected = jax.tree.map(lambda x: x[ORDER], expected)
    harness.assert_trees_close(actual, expected)
