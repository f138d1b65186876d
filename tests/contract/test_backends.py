"""The same numbers on vmap, pmap and shard_map, with and without axis types.

The steps are scanned, which also needs a state that keeps structure, shapes, dtypes
and manual axis types.
"""

from tests import harness
from tests.contract import table

EACH = table.each(table.TRANSFORMATIONS + table.MORE_ATTACKS)


@EACH
def test_backends_agree(row):
    arguments = table.inputs(row)
    expected = harness.run_steps(row.tx, "vmap", *arguments)
    for backend in ("shard_map", "shard_map_no_vma"):
        actual = harness.run_steps(row.tx, backend, *arguments)
        harness.assert_trees_close(actual, expected)


@EACH
def test_pmap_is_the_shard_map_without_axis_types(row):
    """The same program on each device gives the numbers that are compared above."""
    arguments = harness.steps_inputs(*table.inputs(row))
    pmap, shard_map = (
        harness.device_program(harness.steps_program(row.tx, backend), *arguments)
        for backend in ("pmap", "shard_map_no_vma")
    )
    assert pmap == shard_map
