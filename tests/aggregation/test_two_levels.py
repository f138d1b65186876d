"""A fast inside and a slow outside: one `aggregate` for each level."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxdist as jd
from tests import harness
from tests.recipes import problem

PODS, DEVICES = 2, 4
LEVELS = ("dcn", "ici")
UPDATES = {
    "w": jax.random.normal(jax.random.key(0), (PODS * DEVICES, 2, 16, 8)),
    "b": jax.random.normal(jax.random.key(1), (PODS * DEVICES, 2, 5)),
}
TOP = jd.compression.error_feedback(jd.compression.top_k(0.1))


def grid():
    return jax.make_mesh((PODS, DEVICES), LEVELS, axis_types=(AxisType.Auto,) * 2)


def two_levels(rule=None, compressor=None):
    return optax.chain(
        jd.aggregate("ici", jd.rules.mean()), jd.aggregate("dcn", rule, compressor)
    )


def run(tx, updates):
    """Scan over the updates of one worker ``[steps, ...]``."""

    def step(state, gradients):
        out, state = tx.update(gradients, state)
        return state, out

    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), updates)
    return jax.lax.scan(step, tx.init(params), updates)[1]


def on_mesh(tx, updates):
    def worker(updates):
        return run(tx, jax.tree.map(lambda leaf: leaf[0], updates))

    return jax.shard_map(
        worker, mesh=grid(), in_specs=PartitionSpec(LEVELS), out_specs=PartitionSpec()
    )(updates)


def nested(tx, updates):
    """Return ``[pods, devices, steps, ...]``."""
    pods = jax.tree.map(lambda x: x.reshape(PODS, DEVICES, *x.shape[1:]), updates)
    inside = jax.vmap(lambda updates: run(tx, updates), axis_name="ici")
    return jax.jit(jax.vmap(inside, axis_name="dcn"))(pods)


def test_without_compression_it_is_the_flat_mean():
    expected = jax.tree.map(lambda leaf: leaf.mean(axis=0), UPDATES)
    out = jax.jit(
        lambda u: on_mesh(two_levels(compressor=jd.compression.identity()), u)
    )(UPDATES)
    harness.assert_trees_close(out, expected)
    for leaf, wanted in zip(*map(jax.tree.leaves, (out, expected)), strict=True):
        assert leaf.shape == wanted.shape
    everywhere = nested(two_levels(compressor=jd.compression.identity()), UPDATES)
    for name, leaf in everywhere.items():
        for out in leaf.reshape(-1, *leaf.shape[2:]):
            np.testing.assert_allclose(out, expected[name], rtol=1e-5, atol=1e-6)


def test_a_pod_is_one_worker_of_the_outer_level():
    pods = jax.tree.map(
        lambda leaf: leaf.reshape(PODS, DEVICES, *leaf.shape[1:]).mean(axis=1), UPDATES
    )
    outer = jd.aggregate("dcn", compressor=TOP)
    expected = jax.jit(jax.vmap(lambda u: run(outer, u), axis_name="dcn"))(pods)
    expected = jax.tree.map(lambda leaf: leaf[0], expected)
    tx = two_levels(compressor=TOP)
    harness.assert_trees_close(jax.jit(lambda u: on_mesh(tx, u))(UPDATES), expected)
    out = jax.tree.map(lambda leaf: leaf[1, 2], nested(tx, UPDATES))
    harness.assert_trees_close(out, expected)


def test_a_robust_rule_within_each_pod():
    tx = optax.chain(jd.aggregate("ici", jd.rules.median()), jd.aggregate("dcn"))
    expected = jax.tree.map(
        lambda leaf: jnp.median(
            leaf.reshape(PODS, DEVICES, *leaf.shape[1:]), axis=1
        ).mean(axis=0),
        UPDATES,
    )
    out = jax.jit(lambda u: on_mesh(tx, u))(UPDATES)
    harness.assert_trees_close(out, expected)


def test_only_what_leaves_the_pod_is_compressed():
    first = {"w": UPDATES["w"][:, 0]}
    params = {"w": jnp.zeros((16, 8))}
    tx = two_levels(compressor=TOP)

    def worker(updates):
        own = jax.tree.map(lambda leaf: leaf[0], updates)
        return tx.update(own, tx.init(params))[0]

    mapped = jax.shard_map(
        worker, mesh=grid(), in_specs=PartitionSpec(LEVELS), out_specs=PartitionSpec()
    )
    text = jax.jit(mapped).lower(first).compile().as_text()
    inside, outside = (
        "\n".join(line for line in text.splitlines() if re.search(groups, line))
        for groups in (
            r"replica_groups=(\{\{0,1,2,3\},\{4,5,6,7\}\}|\[2,4\]<=\[8\])",
            r"replica_groups=(\{\{0,4\},\{1,5\},\{2,6\},\{3,7\}\}|\[4,2\]<=\[2,4\]T)",
        )
    )
    dense, payload = 16 * 8 * 4, 13 * (4 + 1)
    assert harness.collectives(inside) == [("all-reduce", dense)]
    assert harness.collectives(outside) == [("all-gather", PODS * payload)]
    assert len(harness.collectives(text)) == 2
    report = jd.communication_report(tx, params, {"ici": DEVICES, "dcn": PODS})
    sent = {shipment.transformation: shipment.nbytes for shipment in report.shipments}
    assert sent == {
        "aggregate('ici')": 2 * 3 / 4 * dense,
        "aggregate('dcn')": (PODS - 1) * payload,
    }


def train(tx, steps=3):
    init, step = jd.data_parallel(problem.loss, tx, grid(), LEVELS)
    state = init(problem.PARAMS)
    for _ in range(steps):
        state, metrics = step(state, problem.BATCH)
    return state, metrics


def test_recipe_equals_the_flat_one():
    flat, _ = train(optax.chain(jd.aggregate(LEVELS), optax.sgd(0.1)))
    levels, _ = train(optax.chain(two_levels(), optax.sgd(0.1)))
    harness.assert_trees_close(levels.params, flat.params)


@pytest.mark.usefixtures("standard_promotion")
def test_recipe_keeps_each_state_where_it_differs():
    tx = optax.chain(
        jd.per_worker(LEVELS, optax.trace(0.9)),
        optax.chain(
            jd.aggregate("ici", jd.rules.trimmed_mean(1)),
            jd.aggregate("dcn", compressor=TOP),
        ),
        optax.adam(0.01),
    )
    state, metrics = train(tx)
    momentum, (_, outer), adam = state.opt_state
    spec_of = {
        "momentum": momentum.inner_state.trace["w"].sharding.spec,
        "residual": outer.uplink.inner_state["w"].residual.sharding.spec,
        "adam": adam[0].mu["w"].sharding.spec,
    }
    assert spec_of == {
        "momentum": PartitionSpec(LEVELS),
        "residual": PartitionSpec("dcn"),
        "adam": PartitionSpec(),
    }
    assert outer.uplink.inner_state["w"].residual.shape == (PODS, 10, 16)
    jd.assert_replicas_equal(state)
    assert np.isfinite(metrics["loss"])


def test_parameters_sharded_by_xla_need_no_more():
    """Distances over an axis that is not manual are those of the whole gradient."""
    tx = optax.chain(
        jd.aggregate("data", jd.rules.krum(0), route="gather"), optax.sgd(0.1)
    )
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    init, step = jd.data_parallel(problem.loss, tx, mesh, "data")
    sharding = NamedSharding(mesh, PartitionSpec(None, "model"))
    params = dict(problem.PARAMS, w=jax.device_put(problem.PARAMS["w"], sharding))
    simulated_init, simulated_step = jd.simulate(problem.loss, tx, 4, "data")
    state, simulated = init(params), simulated_init(problem.PARAMS)
    assert state.params["w"].sharding.spec == PartitionSpec(None, "model")
    for _ in range(2):
        state, _ = step(state, problem.BATCH)
        simulated, _ = simulated_step(simulated, problem.BATCH)
    harness.assert_trees_close(state.params, simulated.params, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "compressor",
    [
        jd.compression.random_k(0.25),
        jd.compression.random_k(0.25, shared=False),
        jd.compression.terngrad(8),
    ],
    ids=str,
)
def test_levels_of_one_key_draw_independently(compressor):
    """Else a coordinate that survives one level would always survive the other."""
    steps, wanted = 2000, np.linspace(-1, 1, 8, dtype=np.float32)
    tx = optax.chain(
        jd.aggregate("ici", compressor=compressor),
        jd.aggregate("dcn", compressor=compressor),
    )
    updates = {"w": jnp.broadcast_to(wanted, (PODS * DEVICES, steps, 8))}
    mean = jax.jit(lambda u: nested(tx, u)["w"][0, 0].mean(axis=0))(updates)
    assert np.linalg.norm(mean - wanted) < 0.15 * np.linalg.norm(wanted)


SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
SIGNS = jd.aggregate("dcn", compressor=SIGN, downlink=SIGN)


@pytest.mark.usefixtures("standard_promotion")
def test_an_optimizer_in_parts_aggregates_over_pods():
    """Without compression it is the flat mean; the moments are those of parts."""
    flat, _ = train(optax.chain(jd.aggregate(LEVELS), optax.adam(0.01)))
    inner = optax.chain(jd.aggregate("dcn"), optax.adam(0.01))
    levels, _ = train(jd.shard_optimizer("ici", inner))
    harness.assert_trees_close(levels.params, flat.params)
    verb = jd.shard_optimizer("ici", jd.aggregate("dcn"))
    levels, _ = train(optax.chain(verb, optax.adam(0.01)))
    harness.assert_trees_close(levels.params, flat.params)


def test_a_pod_sends_each_element_once():
    tx = optax.chain(jd.shard_optimizer("ici", SIGNS), optax.sgd(0.1))
    init, step = jd.data_parallel(problem.loss, tx, grid(), LEVELS)
    state = init(problem.PARAMS)
    text = step.lower(state, problem.BATCH).compile().as_text()
    lines = [line for line in text.splitlines() if "{{0,4},{1,5}" in line]
    report = jd.communication_report(tx, problem.PARAMS, {"ici": DEVICES, "dcn": PODS})
    assert harness.bytes_sent("\n".join(lines), PODS) == report.axis_nbytes["dcn"]
    sizes = {name: leaf.size // DEVICES for name, leaf in problem.PARAMS.items()}
    parts = {name: jnp.zeros(size) for name, size in sizes.items()}
    alone = jd.communication_report(SIGNS, parts, PODS)
    assert report.axis_nbytes["dcn"] == alone.total_nbytes
    state, metrics = step(state, problem.BATCH)
    jd.assert_replicas_equal(state)
    assert np.isfinite(metrics["loss"])


def test_rules_of_pods_see_the_whole_gradient():
    """As with a level after the other, where each device has all of it."""
    rule = jd.rules.geometric_median()
    chained, _ = train(optax.chain(two_levels(rule), optax.sgd(0.1)))
    verb = jd.shard_optimizer("ici", jd.aggregate("dcn", rule))
    found, _ = train(optax.chain(verb, optax.sgd(0.1)))
    harness.assert_trees_close(found.params, chained.params, atol=1e-5)


def test_three_levels_see_the_whole_gradient():
    rule = jd.rules.centered_clipping(0.05)
    axes = ("c", "a", "b")
    mesh = jax.make_mesh((2, 2, 2), axes, axis_types=(AxisType.Auto,) * 3)
    verb = jd.shard_optimizer("a", jd.shard_optimizer("b", jd.aggregate("c", rule)))
    chained = optax.chain(jd.aggregate("b"), jd.aggregate("a"), jd.aggregate("c", rule))
    states = []
    for tx in (verb, chained):
        tx = optax.chain(tx, optax.sgd(0.1))
        init, step = jd.data_parallel(problem.loss, tx, mesh, axes)
        state, _ = step(init(problem.PARAMS), problem.BATCH)
        states.append(state.params)
    harness.assert_trees_close(*states, atol=1e-6)


@pytest.mark.parametrize("weight", [[1, 0, 3, 1, 0, 0, 2, 5], [0, 0, 0, 0, 0, 1, 2, 5]])
def test_weights_of_both_levels(weight):
    weight = np.array(weight, np.float32)  # of the second, a whole pod is absent
    states = []
    for tx in (
        jd.aggregate(LEVELS),
        jd.shard_optimizer("ici", jd.aggregate("dcn")),
    ):
        tx = optax.chain(tx, optax.sgd(0.1))
        init, step = jd.data_parallel(problem.loss, tx, grid(), LEVELS)
        state, _ = step(init(problem.PARAMS), problem.BATCH, weight=weight)
        states.append(state.params)
    harness.assert_trees_close(*states)


def test_what_two_levels_cannot_do():
    low_rank = jd.aggregate("dcn", compressor=jd.compression.power_sgd(1))
    with pytest.raises(ValueError, match="`compressor` power_sgd.* a flat part"):
        train(optax.chain(jd.shard_optimizer("ici", low_rank), optax.sgd(0.1)))
    clipped = jd.shard_optimizer("ici", SIGNS, max_norm=1.0)
    with pytest.raises(ValueError, match="`max_norm` must be None where `inner` aggr"):
        train(clipped)
    tx = jd.shard_optimizer("ici", SIGNS)
    state, _ = train(optax.chain(tx, optax.sgd(0.1)))
    with pytest.raises(ValueError, match="`state` must not be of shard_optimizer with"):
        jd.resize_residuals(state.opt_state, 4, 2, problem.PARAMS)

    def worker(updates):
        own = jax.tree.map(lambda leaf: leaf[0, 0], updates)
        zeros = jax.tree.map(jnp.zeros_like, own)
        weight = 1.0 + jax.lax.axis_index(LEVELS).astype(jnp.float32)
        return tx.update(own, tx.init(zeros), zeros, weight=weight)[0]

    mapped = jax.shard_map(
        worker, mesh=grid(), in_specs=PartitionSpec(LEVELS), out_specs=PartitionSpec()
    )
    with pytest.raises(ValueError, match="`weight` must be a mapping from both axes"):
        jax.jit(mapped)(UPDATES)
