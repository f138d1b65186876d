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


def program_of(worker):
    """Return the compiled program of a step in a mesh of all workers."""
    mapped = jax.shard_map(
        lambda updates: worker(updates[0]),
        mesh=harness.make_mesh(),
        in_specs=PartitionSpec(harness.AXIS),
        out_specs=PartitionSpec(),
    )
    updates = jax.ShapeDtypeStruct((WORKERS, SIZE), jnp.float32)
    return jax.jit(mapped).lower(updates).compile()


@pytest.mark.parametrize(
    "rule", [row.rule for row in table.RULES], ids=table.names(table.RULES)
)
def test_costs_little_more_than_an_all_reduce(rule):
    tx = jd.aggregate(harness.AXIS, rule, route="scatter")
    if rule.anchor == "reference":
        tx = table.with_reference(tx)
    program = program_of(lambda updates: tx.update(updates, tx.init(updates))[0])
    assert program.memory_analysis().temp_size_in_bytes <= 4 * NBYTES
    sent = harness.bytes_sent(program.as_text())
    assert sent <= 1.1 * DENSE + 4 * (WORKERS + 1) ** 2 * 2


@pytest.mark.parametrize(
    "rule",
    [jd.rules.trimmed_mean(2), jd.rules.krum(2), jd.rules.centered_clipping(4.0, 3)],
    ids=repr,
)
def test_metrics_take_no_memory_of_their_own(rule):
    tx = jd.aggregate(harness.AXIS, rule, route="scatter", metrics=True)

    def worker(updates):
        merged, state = tx.update(updates, tx.init(updates))
        return merged, jd.aggregation_metrics(state)

    assert program_of(worker).memory_analysis().temp_size_in_bytes <= 4 * NBYTES
