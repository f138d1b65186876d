"""Bundles: the whole gradient as one vector, and apart again."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _joint
from tests import harness

TREE = {
    "a": jnp.arange(6.0).reshape(2, 3),
    "b": (jnp.ones(4, jnp.bfloat16), None, jnp.zeros((0, 2))),
    "c": jnp.float32(7.0),
}
WHOLE = jd.compression.by_leaf(
    jd.compression.top_k(0.5), min_ndim=0, min_size=0, joint=True
)


def test_apart_it_is_what_it_was():
    bundled, unbundle, _ = _joint.join_leaves(WHOLE, TREE)
    assert bundled["joint"].shape == (11,) and bundled["joint"].dtype == jnp.float32
    assert [x.shape for x in jax.tree.leaves(bundled["separate"])] == [(0, 2)]
    back = unbundle(bundled)
    harness.assert_trees_equal(back, TREE)


def test_other_policies_change_nothing():
    for policy in (
        jd.compression.top_k(0.5),
        jd.compression.by_leaf(jd.compression.top_k(0.5)),
        None,
    ):
        bundled, unbundle, policy_of = _joint.join_leaves(policy, TREE)
        assert bundled is TREE and unbundle(TREE) is TREE
        assert policy_of(policy) is policy


def test_leaves_of_patterns_and_small_ones_stay_alone():
    policy = jd.compression.by_leaf(
        jd.compression.top_k(0.5),
        {"a": jd.compression.top_k(0.5)},
        min_ndim=1,
        min_size=0,
        joint=True,
    )
    bundled, _, policy_of = _joint.join_leaves(policy, TREE)
    assert bundled["joint"].dtype == jnp.bfloat16
    assert set(bundled["separate"]) == {"a", "b", "c"}
    inside = policy_of(policy)
    assert inside.select("joint", bundled["joint"]) is policy.joint
    assert inside.select("separate/c", TREE["c"]).name == "identity()"


def test_nothing_to_join_is_no_bundle():
    policy = jd.compression.by_leaf(
        jd.compression.top_k(0.5), min_size=1000, joint=True
    )
    assert _joint.join_leaves(policy, TREE)[0] is TREE


def test_a_small_parameter_called_joint_is_no_bundle():
    """It travels as it is, like all that are small."""
    policy = jd.compression.by_leaf(
        jd.compression.top_k(0.5), min_size=1000, joint=True
    )
    tx = jd.compress(policy)
    updates = {"joint": jnp.arange(1.0, 5.0)}
    seen, _ = tx.update(updates, tx.init(updates))
    np.testing.assert_array_equal(seen["joint"], updates["joint"])


def test_top_k_of_the_whole_gradient():
    updates = {"small": jnp.array([1.0, 2.0, 3.0]), "large": jnp.array([10.0, 20, 30])}
    tx = jd.compress(WHOLE)
    seen, _ = tx.update(updates, tx.init(updates))
    np.testing.assert_array_equal(seen["large"], updates["large"])
    np.testing.assert_array_equal(seen["small"], 0)


@pytest.mark.parametrize("downlink", [jd.compression.scaled_sign(), WHOLE])
def test_both_ways(downlink):
    tx = jd.aggregate("data", compressor=WHOLE, downlink=downlink)
    updates = jax.tree.map(lambda x: jnp.stack([x] * 4), TREE)
    seen, _ = jax.jit(jax.vmap(lambda g: tx.update(g, tx.init(g)), axis_name="data"))(
        updates
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(seen, updates)
    report = jd.communication_report(tx, TREE, 4)
    assert [x.leaf for x in report.shipments] == ["joint", "separate/b/2"]


def test_the_way_back_must_join_the_same():
    with pytest.raises(ValueError, match="both have joint=True or neither"):
        jd.aggregate(
            "data",
            compressor=WHOLE,
            downlink=jd.compression.by_leaf(jd.compression.top_k(0.1)),
        )
    with pytest.raises(ValueError, match="both have joint=True or neither"):
        jd.aggregate("data", compressor=jd.compression.top_k(0.1), downlink=WHOLE)


def test_parts_of_a_bundle_cannot_be_cut_again():
    up = jd.compression.by_leaf(
        jd.compression.error_feedback(jd.compression.top_k(0.5)), min_size=0, joint=True
    )
    tx = jd.aggregate(
        "data",
        compressor=up,
        downlink=jd.compression.error_feedback(jd.compression.top_k(0.5)),
    )
    params = {"a": jnp.zeros((4, 4)), "b": jnp.zeros((2, 2))}
    state = jd.init(tx, params, jax.make_mesh((2,), ("data",)), "data")
    with pytest.raises(ValueError, match="'joint.*is not cut again"):
        jd.resize_residuals(state, 2, 4, params)
