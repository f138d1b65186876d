"""The transformation: composition, guards, two-way feedback, axes in pairs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

import jaxdist as jd
from tests import harness
from tests.test_collectives import AXES, over_two_axes


def aggregate_once(tx, backend, updates):
    def worker(updates):
        return tx.update(updates, tx.init(updates))[0]

    return harness.run(worker, backend, updates)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_dense_mean_is_the_mean(backend):
    updates = jax.tree.map(lambda x: x[0], harness.gradients())
    actual = aggregate_once(jd.aggregate(harness.AXIS), backend, updates)
    expected = jax.jit(jd.rules.mean())(updates)
    actual = jax.device_get(actual)
    for worker in range(8):
        row = jax.tree.map(lambda x, worker=worker: x[worker], actual)
        harness.assert_trees_close(row, expected)


def test_random_k_is_the_same_on_every_route():
    updates = jax.random.normal(jax.random.key(0), (8, 64))
    by_route = [
        aggregate_once(
            jd.aggregate(
                harness.AXIS, jd.rules.mean(), jd.compression.random_k(0.25), route
            ),
            "shard_map",
            updates,
        )
        for route in ("psum", "gather")
    ]
    np.testing.assert_allclose(*by_route, rtol=1e-5, atol=1e-6)
    assert int(jnp.sum(by_route[0][0] != 0)) == 16


def test_two_way_feedback_loses_nothing():
    """Sent so far plus all residuals is the sum of the mean gradients, exactly."""
    steps, size = 20, 50
    updates = jax.random.normal(jax.random.key(0), (steps, 8, size))
    tx = jd.aggregate(
        harness.AXIS,
        jd.rules.mean(),
        jd.compression.error_feedback(jd.compression.top_k(0.1)),
        downlink=jd.compression.error_feedback(jd.compression.scaled_sign()),
    )
    params = jnp.zeros((8, size))
    sent, state = harness.run_steps(tx, "shard_map", params, updates)
    up = state.uplink.inner_state.residual.reshape(8, size).mean(axis=0)
    down = state.downlink.inner_state.residual.reshape(-1)[:size]
    total = sent[0].sum(axis=0) + up + down
    np.testing.assert_allclose(total, updates.mean(axis=1).sum(axis=0), atol=1e-4)


@pytest.mark.parametrize("backend", ["vmap", "shard_map", "shard_map_no_vma"])
@pytest.mark.parametrize("rule", [jd.rules.mean(), jd.rules.krum(2)])
def test_workers_may_span_two_axes(backend, rule):
    updates = jax.random.normal(jax.random.key(0), (8, 40))
    compressor = jd.compression.error_feedback(jd.compression.scaled_sign())
    one = jd.aggregate(harness.AXIS, rule, compressor, "scatter")
    two = jd.aggregate(AXES, rule, compressor, "scatter")

    def worker(updates):
        return two.update(updates, two.init(updates))[0]

    np.testing.assert_allclose(
        over_two_axes(worker, backend, updates),
        aggregate_once(one, "vmap", updates),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("rule", [jd.rules.mean(), jd.rules.krum(2)])
def test_a_tree_without_leaves_stays_one(rule):
    tx = jd.aggregate(harness.AXIS, rule)
    updates = {"a": optax.MaskedNode(), "b": ()}

    def worker(_):
        out, state = tx.update(updates, tx.init(updates))
        assert out == updates
        return state.count

    np.testing.assert_array_equal(
        jax.jit(jax.vmap(worker, axis_name=harness.AXIS))(jnp.zeros(8)), jnp.ones(8)
    )


def test_a_single_worker_gets_its_own_updates_back():
    updates = jnp.arange(5.0)[None]
    for route in ("psum", "gather", "scatter"):
        tx = jd.aggregate(harness.AXIS, route=route)
        mapped = jax.jit(
            jax.vmap(
                lambda u, tx=tx: tx.update(u, tx.init(u))[0], axis_name=harness.AXIS
            )
        )
        np.testing.assert_array_equal(mapped(updates), updates)


def _summed_gradients(weight, row):
    return jax.grad(lambda w: jnp.sum(w * row))(weight)


def test_gradients_that_are_already_summed_are_refused():
    tx = jd.aggregate(harness.AXIS)

    def worker(row):
        gradient = _summed_gradients(jnp.ones(3), row)
        return tx.update(gradient, tx.init(gradient))[0]

    with pytest.raises(
        ValueError, match=r"already equal on all workers of 'data'.*value_and_grad"
    ):
        harness.run(worker, "shard_map", jnp.ones((8, 3)))


def test_integer_updates_are_refused():
    tx = jd.aggregate(harness.AXIS)
    with pytest.raises(TypeError, match="leaf 'a' is int32.*optax.masked"):
        aggregate_once(tx, "vmap", {"a": jnp.ones((8, 2), jnp.int32)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jd.aggregate(3), "`axis_name` must be a string"),
        (
            lambda: jd.aggregate("a", route="ring"),
            "`route` must be one of .* got 'ring'",
        ),
        (
            lambda: jd.aggregate("a", jd.rules.median(), jd.compression.top_k(0.1)),
            "keep different coordinates",
        ),
        (
            lambda: jd.aggregate(
                "a", route="gather", downlink=jd.compression.top_k(0.1)
            ),
            "`downlink` compresses the way back of the route 'scatter'",
        ),
    ],
)
def test_bad_values_are_refused_by_the_factory(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "arguments",
    [{"rule": "median"}, {"compressor": 0.01}, {"downlink": jd.rules.median()}],
)
def test_bad_types_are_refused_by_the_factory(arguments):
    (name,) = arguments
    with pytest.raises(TypeError, match=f"`{name}` must be"):
        jd.aggregate("a", **arguments)


def test_too_few_workers_are_refused_when_traced():
    tx = jd.aggregate(harness.AXIS, jd.rules.trimmed_mean(4))
    with pytest.raises(
        ValueError, match=r"`num_byzantine`.*\[0, 3\].*8 workers, got 4"
    ):
        aggregate_once(tx, "vmap", jnp.ones((8, 3)))


def test_stateful_downlink_must_know_the_number_of_workers():
    tx = jd.aggregate(
        "a", downlink=jd.compression.error_feedback(jd.compression.top_k(0.1))
    )
    with pytest.raises(NameError, match=r"unbound axis name: a.*jaxdist.init"):
        tx.init(jnp.zeros(10))
    jd.aggregate("a", downlink=jd.compression.top_k(0.1)).init(jnp.zeros(10))


def test_robust_rules_survive_nan_from_compressed_workers():
    updates = jax.random.normal(jax.random.key(0), (8, 64)).at[3, 5].set(jnp.nan)
    for rule in (jd.rules.median(), jd.rules.trimmed_mean(1), jd.rules.krum(1)):
        tx = jd.aggregate(
            harness.AXIS,
            rule,
            jd.compression.error_feedback(jd.compression.scaled_sign()),
            "scatter",
        )
        sequence = jnp.stack([updates, updates.at[3, 5].set(0.0)])
        out, _ = harness.run_steps(tx, "shard_map", updates * 0, sequence)
        assert np.isfinite(out).all(), rule


def test_identical_workers_on_every_vmap():
    """Updates that are not mapped at all must still be one per worker."""
    tx = jd.aggregate(harness.AXIS, jd.rules.median(), route="scatter")

    def worker(_):
        updates = jnp.arange(10.0)
        return tx.update(updates, tx.init(updates))[0]

    out = jax.jit(jax.vmap(worker, axis_name=harness.AXIS))(jnp.zeros(8))
    np.testing.assert_allclose(out[0], jnp.arange(10.0))


@pytest.mark.usefixtures("standard_promotion")
def test_result_is_typed_equal_so_replicated_adam_follows():
    tx = optax.chain(
        jd.aggregate(
            harness.AXIS,
            jd.rules.mean(),
            jd.compression.error_feedback(jd.compression.top_k(0.2)),
        ),
        optax.adam(1e-2),
    )
    mesh = harness.make_mesh()
    params = {"w": jnp.ones((4, 4))}
    specs = jd.state_specs(tx, params, harness.AXIS)

    def step(params, state, row):
        updates = jax.tree.map(
            lambda p: p * row[0], jax.lax.pcast(params, "data", to="varying")
        )
        updates, state = tx.update(updates, state, params)
        return optax.apply_updates(params, updates), state

    mapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(PartitionSpec(), specs, PartitionSpec(harness.AXIS)),
        out_specs=(PartitionSpec(), specs),
    )
    params, state = jax.jit(mapped)(
        params, jd.init(tx, params, mesh, harness.AXIS), jnp.arange(8.0)
    )
    assert state[1][0].mu["w"].shape == (4, 4)
    assert state[0].uplink.inner_state["w"].residual.shape == (8, 4, 4)


@pytest.mark.parametrize("scope", ["gradient", "leaf"])
def test_what_overlaps_takes_another_route_to_the_same_mean(scope):
    tx = jd.aggregate(harness.AXIS, scope=scope)
    gradients = jax.tree.map(lambda leaf: leaf[0], harness.gradients(1))

    def worker(gradient, overlap):
        return tx.update(gradient, tx.init(gradient), overlap=overlap)

    plain, other = (
        harness.run(functools.partial(worker, overlap=overlap), "shard_map", gradients)
        for overlap in (False, True)
    )
    harness.assert_trees_close(other, plain)
    one = jax.tree.map(lambda leaf: leaf[0], gradients)
    routes = {
        overlap: {
            row.route
            for row in jd.communication_report(tx, one, 8, overlap=overlap).shipments
        }
        for overlap in (False, True)
    }
    assert "psum" in routes[False] and "psum" not in routes[True]


@pytest.mark.parametrize("value", [jnp.asarray(True), 1, "yes", None])
def test_whether_it_overlaps_is_a_constant_of_the_program(value):
    tx = jd.aggregate(harness.AXIS)
    with pytest.raises(ValueError, match="`overlap` must be True or False, got"):
        jax.jit(
            jax.vmap(
                lambda g: tx.update(g, tx.init(g), overlap=value),
                axis_name=harness.AXIS,
            )
        )(jnp.ones((8, 3)))
