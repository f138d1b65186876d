"""Dialogues: leaves that are alike share one, and small others ride along."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.aggregation import _dialogues, _transport, _workers
from tests import harness
from tests.aggregation import test_leaf_plan

LOW_RANK = jd.compression.power_sgd(2)


def test_leaves_that_are_alike_are_asked_together():
    shapes = {"a": (8, 6), "b": (8, 6), "c": (9, 6), "d": (5,)}
    plans = [
        test_leaf_plan.plan(
            compressor=jd.compression.identity() if name == "d" else LOW_RANK,
            leaf=jnp.zeros(shape),
            name=name,
            route="psum",
        )
        for name, shape in shapes.items()
    ]
    leaves = [jax.random.normal(jax.random.key(0), (8, *s)) for s in shapes.values()]

    def worker(*leaves):
        workers = _workers.Workers(harness.AXIS)
        states = [
            plan.compressor.init(leaf) for plan, leaf in zip(plans, leaves, strict=True)
        ]
        sent, states = _transport.encode_leaves(
            plans, leaves, states, jax.random.key(0), workers
        )
        talks = _dialogues.begin_talks(sent, leaves, states, workers)
        assert [talk.indices for talk in talks] == [[0, 1], [2]]
        (rode,) = _dialogues.hold_rounds(talks, [sent[3]], workers)
        assert all(len(talk.means) == 2 for talk in talks)
        arrived, _ = _transport.exchange(sent, leaves, states, workers)
        return rode, [item.mean for item in arrived[:3]]

    rode, means = harness.run(worker, "vmap", *leaves)
    np.testing.assert_allclose(rode[0, 0], leaves[3].mean(axis=0), atol=1e-6)
    for leaf, mean in zip(leaves[:3], means, strict=True):
        assert mean.shape == leaf.shape
        exact = leaf.mean(axis=0)
        left, values, right = np.linalg.svd(exact, full_matrices=False)
        lost = np.linalg.norm(mean[0] - exact)
        assert np.sqrt((values[2:] ** 2).sum()) - 1e-5 <= lost < np.linalg.norm(exact)
