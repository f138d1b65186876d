"""What every rule costs in a mesh: memory and bytes, from the compiled program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

import jaxdist as jd
from tests import harness
from tests.contract import table

WORKERS, SIZE = harness.NUM_WORKERS, 1_000_000
NBYTES = 4 * SIZE
DENSE = 2 * (WORKERS - 1) / WORKERS * NBYTES  # what a dense all-reduce sends


@pytest.mark.parametrize(
    "rule", [row.rule for row in table.RULES], ids=table.names(table.RULES)
)
def test_costs_little_more_than_an_all_reduce(rule):
    tx = jd.aggregate(harness.AXIS, rule, route="scatter")
    if rule.anchor == "reference":
        tx = table.with_reference(tx)

    def worker(updates):
        return tx.update(updates[0], tx.init(updates[0]))[0]

    mapped = jax.shard_map(
        worker,
        mesh=harness.make_mesh(),
        in_specs=PartitionSpec(harness.AXIS),
        out_specs=PartitionSpec(),
    )
    updates = jax.ShapeDtypeStruct((WORKERS, SIZE), jnp.float32)
    program = jax.jit(mapped).lower(updates).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 4 * NBYTES
    sent = harness.bytes_sent(program.as_text())
    assert sent <= 1.1 * DENSE + 4 * (WORKERS + 1) ** 2 * 2
