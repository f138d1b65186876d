"""A skipped step changes nothing and gives zeros; any other is the inner step."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdist.workers import _skipped_step
from tests import harness


@pytest.mark.parametrize("counts", [True, False])
def test_a_step_happens_or_not(counts):
    inner = optax.with_extra_args_support(optax.trace(0.5))
    before = inner.init({"w": jnp.zeros(2)})
    updates = {"w": jnp.array([1.0, jnp.nan if not counts else 2.0])}
    out, after = _skipped_step.step_unless_skipped(
        jnp.asarray(counts), inner, updates, before, None, {"value": 1.0}
    )
    if counts:
        harness.assert_trees_equal((out, after), inner.update(updates, before))
    else:
        harness.assert_trees_equal(after, before)
        np.testing.assert_array_equal(out["w"], 0)
