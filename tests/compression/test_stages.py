"""Stages: what changes at given steps."""

import jax
import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist import _traffic
from jaxdist.compression import _stages

ONE, TWO, THREE = (
    jd.compression.top_k(0.1),
    jd.compression.top_k(0.2),
    jd.compression.top_k(0.3),
)


def test_several_policies_share_their_boundaries():
    up, down = (
        jd.compression.by_step({0: ONE, 10: TWO}),
        jd.compression.by_step({0: ONE, 5: THREE}),
    )
    assert _stages.split_stages(up, down, None) == [
        _stages.Stage(0, (ONE, ONE, None)),
        _stages.Stage(5, (ONE, THREE, None)),
        _stages.Stage(10, (TWO, THREE, None)),
    ]
    assert _stages.split_stages(ONE, None) == [_stages.Stage(0, (ONE, None))]


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (9, 0), (10, 1), (99, 1)])
def test_the_stage_of_a_step_runs(count, expected):
    stages = _stages.split_stages(jd.compression.by_step({0: ONE, 10: TWO}))

    def which(compressor, offset):
        return offset + (0 if compressor is ONE else 1)

    run = jax.jit(lambda count: _stages.run_stage(stages, which, count, jnp.int32(0)))
    assert int(run(jnp.int32(count))) == expected


def test_a_report_traces_only_the_stage_of_its_step():
    stages = _stages.split_stages(jd.compression.by_step({0: ONE, 10: TWO}))
    seen = []
    with _traffic.recording(step=12):
        _stages.run_stage(stages, seen.append, jnp.int32(0))
    assert seen == [TWO]


def test_other_states_are_refused():
    stages = _stages.split_stages(
        jd.compression.by_step({0: ONE, 10: jd.compression.error_feedback(ONE)})
    )
    with pytest.raises(ValueError, match="changes at step 10 .* another state"):
        _stages.init_stages(stages, lambda c, leaf: c.init(leaf), jnp.zeros(3))
