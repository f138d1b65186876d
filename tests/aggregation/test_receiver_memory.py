"""What is sorted by holder is found again, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.aggregation import _receiver_memory
from jaxdist.workers import _worker_state
from tests import harness
from tests.aggregation import test_leaf_plan

LEAVES = {"a": jnp.zeros(6), "b": jnp.zeros(5), "c": jnp.zeros(4)}
ROUTES = {"a": "gather", "b": "scatter", "c": "gather"}


def plans():
    return [
        test_leaf_plan.plan(
            jd.rules.median(), leaf=leaf, num_workers=2, route=ROUTES[name], name=name
        )
        for name, leaf in LEAVES.items()
    ]


def test_values_come_back_in_order():
    values = [jnp.arange(6.0), jnp.arange(3.0), ()]
    likes = [jax.typeof(value) if len(value) else () for value in values]
    treedef = jax.tree.structure(LEAVES)

    def there_and_back():
        held = _receiver_memory.sort_by_holder(plans(), values, treedef, harness.AXIS)
        whole, part = held
        assert whole["b"] == () and part.inner_state["a"] == ()
        assert part.inner_state["b"].shape == (1, 3)
        return _receiver_memory.values_of_leaves(plans(), likes, held)

    found = jax.jit(jax.vmap(there_and_back, axis_size=2, axis_name=harness.AXIS))()
    np.testing.assert_array_equal(found[0][0], values[0])
    np.testing.assert_array_equal(found[1][0], values[1])
    assert found[2] == ()


def test_nothing_is_held_of_any_leaf():
    whole, part = _receiver_memory.hold_nothing(jax.tree.structure(LEAVES))
    assert whole == dict.fromkeys(LEAVES, ())
    assert part == _worker_state.PerWorkerState(whole)


def test_zeros_are_like_what_is_asked():
    (plan, *_) = plans()
    assert _receiver_memory.zeros_like_leaf((), plan) == ()
    zeros = _receiver_memory.zeros_like_leaf(
        jax.ShapeDtypeStruct((3,), jnp.float32), plan
    )
    np.testing.assert_array_equal(zeros, np.zeros(3))
