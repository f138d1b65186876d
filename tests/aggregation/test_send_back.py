"""Send back: the parts of all workers are whole leaves again, for all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.aggregation import _send_back, _workers
from tests import harness
from tests.aggregation import test_leaf_plan


@pytest.mark.parametrize("weight", [None, jnp.zeros(8)], ids=["all", "nobody"])
def test_parts_are_joined_whoever_is_absent(weight):
    """Who has nothing to say still owns a part of the result."""
    leaf = jax.random.normal(jax.random.key(0), (3, 7))
    plans = [
        test_leaf_plan.plan(jd.rules.median(), leaf=leaf, route="scatter"),
        test_leaf_plan.plan(jd.rules.median(), leaf=leaf, route="gather"),
    ]
    parts = jnp.pad(leaf.reshape(-1), (0, 3)).reshape(8, 3)

    def worker(part):
        workers = _workers.Workers(harness.AXIS, weight)
        merged = [part, leaf.reshape(-1)]
        whole, states, estimates = _send_back.join_parts(
            merged, plans, [(), ()], [(), ()], jax.random.key(0), workers
        )
        assert states == estimates == [(), ()]
        return whole

    for found in harness.run(worker, "vmap", parts):
        np.testing.assert_array_equal(found, np.tile(leaf, (8, 1, 1)))
