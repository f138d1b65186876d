"""The same numbers on vmap, pmap and shard_map, with and without axis types.

The steps are scanned, which also needs a state that keeps structure, shapes, dtypes
and manual axis types.
"""

import pytest

from tests import harness
from tests.contract import table

ROWS = table.TRANSFORMATIONS + table.MORE_ATTACKS


@pytest.mark.parametrize("row", ROWS, ids=table.names(ROWS))
def test_backends_agree(row):
    arguments = table.inputs(row)
    expected = harness.run_steps(row.tx, harness.BACKENDS[0], *arguments)
    for backend in harness.BACKENDS[1:]:
        actual = harness.run_steps(row.tx, backend, *arguments)
        harness.assert_trees_close(actual, expected)
