"""Rules that compare with the last result or with a reference, on every route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

STEPS = jax.random.normal(jax.random.key(0), (3, 8, 21))
SCATTERED = {"gather": False, "scatter": True}


def half_way(geometry, key, memory):
    """Go half the way from the anchor to the worker that is nearest to it."""
    del key
    distances = geometry.squared_distances[-1, :-1]
    nearest = jnp.arange(distances.shape[0]) == jnp.argmin(distances)
    weights = jnp.append(nearest.astype(jnp.float32), 1.0) / 2
    return weights[None], memory + 1


def rule(anchor):
    return jd.AggregationRule(
        "half way", mix=half_way, anchor=anchor, init=lambda n: jnp.full((), n)
    )


@pytest.mark.parametrize("backend", ["vmap", "shard_map"])
@pytest.mark.parametrize("route", SCATTERED)
def test_the_last_result_is_remembered(route, backend):
    tx = jd.aggregate(harness.AXIS, rule("previous"), route=route)
    merged, state = harness.run_steps(tx, backend, jnp.zeros((8, 21)), STEPS)
    expected = jnp.zeros(21)
    for step, rows in enumerate(STEPS):
        expected = jax.jit(rule("previous"))(rows, anchor=expected)
        np.testing.assert_allclose(merged[0, step], expected, rtol=1e-5, atol=1e-6)
    assert int(state.rule.memory[0]) == 8 + len(STEPS)
    held = state.rule.part.inner_state if SCATTERED[route] else state.rule.whole
    # [W, 1, d/W] or [W, d]
    assert held.shape == ((8, 1, 3) if SCATTERED[route] else (8, 21))


@pytest.mark.parametrize("route", SCATTERED)
def test_a_reference_comes_with_the_update(route):
    tx = jd.aggregate(harness.AXIS, rule("reference"), route=route)
    reference = jnp.linspace(-1, 1, 21)

    def worker(updates):
        return tx.update(updates, tx.init(updates), reference=reference)[0]

    merged = harness.run(worker, "shard_map", STEPS[0])
    expected = jax.jit(rule("reference"))(STEPS[0], anchor=reference)
    np.testing.assert_allclose(merged[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "`reference` must be the gradient with which half way compares"),
        ({"reference": {"w": jnp.zeros(21)}}, "`reference` must have the structure"),
        (
            {"reference": jnp.zeros(20)},
            r"has \(20,\) instead of \(21,\)",
        ),
    ],
)
def test_a_reference_must_fit(extra, message):
    tx = jd.aggregate(harness.AXIS, rule("reference"))

    def worker(updates):
        return tx.update(updates, tx.init(updates), **extra)[0]

    with pytest.raises(ValueError, match=message):
        harness.run(worker, "vmap", STEPS[0])


def test_a_state_for_each_worker_needs_their_number():
    tx = jd.aggregate(harness.AXIS, rule("previous"))
    with pytest.raises(NameError, match=r"half way holds something.*jaxdist\.init"):
        tx.init(jnp.zeros(21))
