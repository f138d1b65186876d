"""Whatever the route, the whole gradient is judged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def run(tx, updates, **extra):
    """Aggregate ``[W, ...]`` on one backend; return updates and state of worker 0."""

    def worker(updates):
        return tx.update(updates, tx.init(updates), **extra)

    result = harness.run(worker, "vmap", updates)
    return jax.tree.map(lambda leaf: leaf[0], result)


UPDATES = jax.random.normal(jax.random.key(0), (8, 21))


@pytest.mark.parametrize("route", ["gather", "scatter"])
@pytest.mark.parametrize("rule", [jd.rules.trimmed_mean(1), jd.rules.krum(1)], ids=repr)
def test_too_many_that_are_not_finite_give_zero_and_say_so(rule, route):
    tx = jd.aggregate(harness.AXIS, rule, route=route)
    # In parts that different workers hold: each alone sees one bad row.
    one = UPDATES.at[3, 0].set(jnp.nan)
    merged, state = run(tx, one)
    assert int(state.rule.num_nonfinite) == 1
    np.testing.assert_allclose(merged, jax.jit(rule)(one), rtol=1e-6)
    merged, state = run(tx, one.at[5, -1].set(jnp.inf))
    assert int(state.rule.num_nonfinite) == 2
    np.testing.assert_array_equal(merged, np.zeros(21))


def test_the_mean_passes_on_what_is_not_finite():
    merged, state = run(jd.aggregate(harness.AXIS), UPDATES.at[3, 0].set(jnp.nan))
    assert np.isnan(merged[0]) and np.isfinite(merged[1:]).all()
    assert int(state.rule.num_nonfinite) == 0


def test_leaves_of_different_routes_are_one_gradient():
    def half(path, leaf):
        del leaf
        whole = jd.Contract(splittable=False)
        return (
            jd.compression.identity()
            if path == "a"
            else jd.compression.identity()._replace(contract=whole)
        )

    tx = jd.aggregate(
        harness.AXIS,
        jd.rules.krum(2),
        jd.compression.LeafPolicy(half, "half"),
        metrics=True,
    )
    updates = {"a": UPDATES, "b": 3 * UPDATES[::-1]}
    merged, state = run(tx, updates)
    expected = jax.jit(jd.rules.krum(2))(updates)
    harness.assert_trees_close(merged, expected)
    chosen = np.flatnonzero(jd.aggregation_metrics(state).selected)
    np.testing.assert_array_equal(merged["a"], UPDATES[chosen[0]])


def test_distances_of_simulated_workers_take_the_memory_of_one():
    """In parts that vmap maps, W workers would have W² distances each."""
    num_workers, size = 96, 192
    tx = jd.aggregate(harness.AXIS, jd.rules.krum(9), route="scatter")

    def worker(gradient):
        return tx.update(gradient, tx.init(gradient))[0]

    rows = jax.random.normal(jax.random.key(0), (num_workers, size))
    program = jax.jit(jax.vmap(worker, axis_name=harness.AXIS)).lower(rows).compile()
    nbytes = program.memory_analysis().temp_size_in_bytes
    assert nbytes < 12 * 4 * num_workers**2 < 4 * num_workers**3
    np.testing.assert_array_equal(program(rows)[0], jd.rules.krum(9)(rows))
