"""The report says what the compiled program sends, to the byte."""

import jax
import pytest
from jax.sharding import PartitionSpec

import jaxdist as jd
from tests import harness
from tests.contract import table


def compiled_step(tx, params, updates, extra):
    """Return the HLO of one step on eight devices; arguments are ``[W, ...]``."""
    mesh = harness.make_mesh()

    def worker(*stacked):
        params, updates, extra = jax.tree.map(lambda leaf: leaf[0], stacked)
        out, state = tx.update(updates, tx.init(params), params, **extra)
        return jax.tree.map(lambda leaf: harness.plain(leaf)[None], (out, state))

    mapped = jax.shard_map(
        worker,
        mesh=mesh,
        in_specs=PartitionSpec(harness.AXIS),
        out_specs=PartitionSpec(harness.AXIS),
    )
    return jax.jit(mapped).lower(params, updates, extra).compile().as_text()


# Whose program holds more than what one step runs.
CONDITIONAL = ("leader-period", "aggregate-by_step")
ROWS = [row for row in table.TRANSFORMATIONS if row.name not in CONDITIONAL]


@pytest.mark.parametrize("row", ROWS, ids=table.names(ROWS))
def test_report_equals_the_compiled_collectives(row):
    params, updates, extra = table.inputs(row, steps=1)
    first = jax.tree.map(lambda x: x[0], (updates, extra))
    one_worker = jax.tree.map(lambda x: x[0], params)
    text = compiled_step(row.tx, params, *first)
    report = jd.communication_report(row.tx, one_worker, harness.NUM_WORKERS)
    assert report.total_nbytes == pytest.approx(harness.bytes_sent(text), abs=1e-6)
    assert bool(harness.collectives(text)) == row.communicates


def test_what_is_sent_every_second_step_counts_half():
    params = harness.params_like(harness.gradients())
    always, sometimes = (
        jd.communication_report(
            jd.pull_to_leader(harness.AXIS, 0.1, period), params, harness.NUM_WORKERS
        )
        for period in (1, 2)
    )
    assert sometimes.total_nbytes == always.total_nbytes / 2
