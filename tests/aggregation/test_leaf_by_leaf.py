"""Scope: a rule that judges each leaf alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

RULES = [
    jd.rules.krum(2),
    jd.rules.centered_clipping(1.0, 2),
    jd.rules.fltrust(),
    jd.rules.median(),
]


def gradients():
    """Return workers of whom the last two lie in one leaf only."""
    keys = jax.random.split(jax.random.key(0), 3)
    weights = jax.random.normal(keys[0], (8, 3, 7)).at[6:].set(50.0)
    return {
        "dense": {"bias": jax.random.normal(keys[1], (8, 5)), "kernel": weights},
        "scale": jax.random.normal(keys[2], (8,)),
    }


def merged(rule, updates, backend="vmap", **options):
    tx = jd.aggregate(harness.AXIS, rule, **options)
    extra = {}
    if rule.anchor == "reference":
        extra["reference"] = jax.tree.map(lambda leaf: leaf[0], updates)

    def worker(updates):
        return tx.update(updates, tx.init(updates), **extra)

    found, state = harness.run(worker, backend, updates)
    return jax.tree.map(lambda leaf: leaf[0], found), state


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_each_leaf_is_judged_as_if_it_were_all(rule, backend):
    updates = gradients()

    def alone(leaf):
        anchor = leaf[0] if rule.anchor == "reference" else None
        return rule(leaf, anchor=anchor)

    found, _ = merged(rule, updates, backend, scope="leaf")
    expected = jax.jit(lambda tree: jax.tree.map(alone, tree))(updates)
    jax.tree.map(
        lambda got, wanted: np.testing.assert_allclose(got, wanted, 2e-5, 1e-5),
        found,
        expected,
    )


def test_who_lies_in_one_leaf_is_heard_in_the_others():
    updates = gradients()
    _, state = merged(jd.rules.multi_krum(2), updates, scope="leaf", metrics=True)
    of_kernel = jd.aggregation_metrics(state["dense"]["kernel"])
    np.testing.assert_array_equal(of_kernel.selected[0, 6:], [False, False])
    for other in (state["dense"]["bias"], state["scale"]):
        assert jd.aggregation_metrics(other).selected[0, 6:].any()
    _, whole = merged(jd.rules.multi_krum(2), updates, metrics=True)
    selected = jd.aggregation_metrics(whole).selected
    np.testing.assert_array_equal(selected[0, 6:], [False, False])


def test_the_report_counts_the_distances_of_every_leaf():
    params = jax.tree.map(lambda leaf: leaf[0], gradients())
    reports = {
        scope: jd.communication_report(
            jd.aggregate(harness.AXIS, jd.rules.krum(2), route="scatter", scope=scope),
            params,
            8,
        )
        for scope in ("gradient", "leaf")
    }
    more = reports["leaf"].total_nbytes - reports["gradient"].total_nbytes
    assert more == 2 * 2 * 7 / 8 * 4 * 8**2


def test_it_trains_with_feedback_and_changes_the_number_of_workers():
    tx = optax.chain(
        jd.aggregate(
            harness.AXIS,
            jd.rules.krum(1),
            jd.compression.error_feedback(jd.compression.top_k(0.3)),
            scope="leaf",
        ),
        optax.sgd(0.1),
    )
    params = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), gradients())
    mesh = harness.make_mesh()
    state = jd.init(tx, params, mesh, harness.AXIS)
    resized = jd.resize_residuals(state, 8, 4, params)
    kernel = resized[0]["dense"]["kernel"].uplink
    assert jax.tree.leaves(kernel)[0].shape[0] == 4
    specs = jd.state_specs(tx, params, harness.AXIS)
    assert jax.tree.structure(specs) == jax.tree.structure(state)


def test_there_are_two_scopes():
    with pytest.raises(ValueError, match="`scope` must be one of 'gradient', 'leaf'"):
        jd.aggregate(harness.AXIS, scope="layer")
