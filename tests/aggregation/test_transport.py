"""Transport: which leaves share a message, and in which order messages go."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.aggregation import _transport, _workers
from tests import harness
from tests.aggregation import test_leaf_plan

MEAN, SIGN = jd.rules.mean(), jd.compression.scaled_sign()


def plan(name, **arguments):
    return test_leaf_plan.plan(leaf=jnp.zeros(16), name=name, **arguments)


def test_leaves_of_a_route_and_sharding_travel_together():
    plans = [
        plan("a", compressor=SIGN, route="scatter"),
        plan("b"),
        plan("c", compressor=SIGN, route="gather"),
        plan("d"),
        plan("e")._replace(other_axes=("model",)),
    ]
    messages = _transport.messages_of(plans)
    found = [(m.route.name, m.other_axes, leaves) for m, leaves in messages.items()]
    assert found == [
        ("psum", (), [1, 3]),
        ("psum", ("model",), [4]),
        ("gather", (), [2]),
        ("scatter", (), [0]),
    ]


def test_payloads_arrive_as_they_were_sent():
    plans = [plan("a", compressor=SIGN, route="gather"), plan("b")]
    leaves = jax.random.normal(jax.random.key(0), (2, 8, 16))

    def worker(*leaves):
        workers = _workers.Workers(harness.AXIS)
        key = jax.random.key(1)
        states = [(), ()]
        sent, _ = _transport.encode_leaves(plans, leaves, states, key, workers)
        arrived = _transport.travel(sent, workers)
        later = _transport.travel(sent, workers, waiting=[1])
        assert later[1].payload is sent[1].payload
        return [item.payload for item in sent], [item.payload for item in arrived]

    sent, arrived = harness.run(worker, "shard_map", *leaves)
    for mine, others in zip(*map(jax.tree.leaves, (sent[0], arrived[0])), strict=True):
        np.testing.assert_array_equal(
            others, np.tile(mine[:, 0], (8, *[1] * mine[0].ndim)).reshape(others.shape)
        )
    np.testing.assert_allclose(
        arrived[1][:, 0], np.tile(leaves[1].mean(axis=0), (8, 1)), rtol=1e-5, atol=1e-6
    )
