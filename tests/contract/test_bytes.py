"""The report says what the compiled program sends, to the byte."""

import jax
import pytest

import jaxdist as jd
from tests import harness
from tests.contract import table

# Whose program holds more than what one step runs: branches, and a common start.
CONDITIONAL = (
    *("leader-period", "leader-memory", "center", "center-period"),
    *("aggregate-by_step", "local_updates"),
    *("one_bit_adam", "one_bit_adam-weighted", "zero_one_adam"),
    *("one_bit_lamb", "one_bit_lamb-weighted"),
    "distributed_lion-weighted",
    *("mix_with_neighbors-one_peer", "mix_with_neighbors-pairs"),
)
ROWS = [row for row in table.TRANSFORMATIONS if row.name not in CONDITIONAL]


@table.each(ROWS)
def test_report_equals_the_compiled_collectives(row):
    """The program of many steps holds what one of them sends, in the body of a loop."""
    params, updates, extra = table.inputs(row)
    one_worker = jax.tree.map(lambda x: x[0], params)
    program = harness.steps_program(row.tx, "shard_map")
    arguments = harness.steps_inputs(params, updates, extra)
    text = program.lower(*arguments).compile().as_text()
    given = {"weight": 1.0} if row.has_weights else {}
    given |= {"staleness": 0} if row.needs_staleness else {}
    report = jd.communication_report(row.tx, one_worker, harness.NUM_WORKERS, **given)
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
