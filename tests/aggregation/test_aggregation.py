"""What is bound once: plans of leaves, and who sends."""

import jax
import jax.numpy as jnp

import jaxdist as jd
from jaxdist.aggregation import _aggregation
from jaxdist.compression import _stages
from tests import harness


def bound(rule, compressor, **asked):
    options = dict(model_axis_name=None, route="auto", weighted=False, metrics=False)
    return _aggregation.Aggregation(
        axis_name=harness.AXIS,
        rule=rule,
        stages=_stages.split_stages(compressor, None),
        key=jax.random.key(0),
        **(options | asked),
    )


def test_every_leaf_gets_its_plan():
    policy = jd.compression.by_leaf(jd.compression.top_k(0.01))
    asked = bound(jd.rules.mean(), policy)
    leaves = [jnp.zeros(5), jnp.zeros((100, 100))]

    def worker(_):
        plans = asked.plan_leaves(policy, None, ["bias", "kernel"], leaves)
        assert [plan.route.name for plan in plans] == ["psum", "gather"]
        assert [plan.num_workers for plan in plans] == [8, 8]
        return ()

    harness.run(worker, "vmap", jnp.zeros(8))


def test_two_transformations_are_two_senders():
    """Though they were asked for the same: reports list both."""
    twice = [jd.aggregate(harness.AXIS), jd.aggregate(harness.AXIS)]
    one, other = (bound(jd.rules.mean(), jd.compression.identity()) for _ in twice)
    assert one != other and hash(one) != hash(other)
