"""Weights in a step: the mean on every route, memories, and those who are absent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

import jaxdist as jd
from tests import harness

W = harness.NUM_WORKERS
RNG = np.random.default_rng(0)
WEIGHT = np.asarray([2.0, 0.0, 1.0, 3.0, 0.5, 1.0, 0.0, 4.0], np.float32)
STEPS = np.stack([WEIGHT, WEIGHT[::-1], np.ones(8, np.float32)])
ABSENT = np.flatnonzero(WEIGHT == 0)
TOP = jd.compression.top_k(0.2)
SIGN = jd.compression.scaled_sign()


def gradients():
    """Return updates ``[steps, W, ...]`` in which those who are absent say nonsense."""
    updates = {
        "kernel": RNG.standard_normal((3, W, 12, 10)).astype(np.float32),
        "bias": RNG.standard_normal((3, W, 7)).astype(np.float32),
    }
    absent = STEPS == 0
    return {name: _spoilt(leaf, absent) for name, leaf in updates.items()}


def _spoilt(leaf, absent):
    leaf = leaf.copy()
    leaf[absent] = np.nan
    return jnp.asarray(leaf)


UPDATES = gradients()
PARAMS = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), UPDATES)


def run(tx, backend="vmap", updates=UPDATES, weight=STEPS):
    """Return the updates of all steps, of worker 0, and the last state ``[W, ...]``."""
    params = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), updates)
    extra = {} if weight is None else {"weight": jnp.asarray(weight)}
    out, state = harness.run_steps(tx, backend, params, updates, extra)
    return jax.tree.map(lambda leaf: leaf[0], out), state


def weighted_means(updates, weight=STEPS):
    """Return the means over the workers, in float64."""

    def mean(leaf):
        rows = np.nan_to_num(np.asarray(leaf, np.float64))
        return np.stack(
            [
                np.average(x, axis=0, weights=w)
                for x, w in zip(rows, weight, strict=True)
            ]
        )

    return jax.tree.map(mean, updates)


def assert_close(found, expected, tolerance=1e-5):
    for left, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", harness.BACKENDS)
@pytest.mark.parametrize("route", ["psum", "gather", "scatter"])
def test_the_dense_mean_weighs_on_every_route(route, backend):
    found, state = run(jd.aggregate(harness.AXIS, route=route), backend)
    assert_close(found, weighted_means(UPDATES))
    np.testing.assert_array_equal(state.rule.num_absent, 0)  # in the last step


def decoded(compressor, updates):
    """Return what arrives of every update when nothing is remembered."""
    seen = jax.jit(
        lambda leaf: harness.roundtrip(compressor, leaf, jax.random.key(0))[0]
    )
    return jax.tree.map(
        lambda leaf: np.stack([[seen(row) for row in step] for step in leaf]), updates
    )


@pytest.mark.parametrize("route", ["gather", "scatter"])
@pytest.mark.parametrize("compressor", [TOP, SIGN], ids=repr)
def test_compressed_means_weigh(compressor, route):
    compressor = jd.compression.top_k(1.0) if route == "scatter" else compressor
    found, _ = run(jd.aggregate(harness.AXIS, compressor=compressor, route=route))
    clean = jax.tree.map(jnp.nan_to_num, UPDATES)
    assert_close(found, weighted_means(decoded(compressor, clean)))


LOW_RANK = jd.compression.power_sgd(1)


@pytest.mark.parametrize(
    ("compressor", "weight"),
    [
        (LOW_RANK, STEPS),
        # What workers owe sums up to nothing with the weights of before.
        (jd.compression.error_feedback(LOW_RANK), STEPS[[0, 0, 0]]),
    ],
    ids=repr,
)
def test_means_found_in_rounds_weigh(compressor, weight):
    """A gradient of rank 1 that all workers share up to a factor arrives whole."""
    left, right = RNG.standard_normal((2, 12)).astype(np.float32)
    factors = jnp.asarray(RNG.standard_normal((3, W)), jnp.float32)
    factors = jnp.where(weight == 0, jnp.nan, factors)
    updates = {"m": factors[:, :, None, None] * jnp.outer(left, right)[None, None]}
    tx = jd.aggregate(harness.AXIS, compressor=compressor)
    for backend in ("vmap", "shard_map"):
        found, state = run(tx, backend, updates, weight)
        assert_close(found, weighted_means(updates, weight), 1e-4)
        known = jax.tree.leaves_with_path(state.uplink)
        known = [x for path, x in known if "right" in jax.tree_util.keystr(path)]
        assert len(known) == 1
        np.testing.assert_array_equal(*np.broadcast_arrays(known[0], known[0][:1]))


@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_estimates_weigh_where_it_was_asked_for(route):
    compressor = jd.compression.ef21(jd.compression.top_k(0.5))
    tx = jd.aggregate(harness.AXIS, compressor=compressor, route=route, weighted=True)
    steady = jax.tree.map(lambda leaf: jnp.nan_to_num(leaf[:1]), UPDATES)
    many = jax.tree.map(lambda leaf: jnp.repeat(leaf, 12, axis=0), steady)
    changing = np.stack([WEIGHT, WEIGHT[::-1]] * 6)
    found, _ = run(tx, updates=many, weight=changing)
    last = jax.tree.map(lambda leaf: leaf[-1], found)
    expected = weighted_means(steady, changing[-1:])
    assert_close(last, jax.tree.map(lambda leaf: leaf[0], expected), 1e-4)
    without = jd.aggregate(harness.AXIS, compressor=compressor, route=route)
    with pytest.raises(ValueError, match="`weight`.*weighted=True"):
        run(without)
    same, _ = run(tx, updates=many, weight=None)
    plain, _ = run(without, updates=many, weight=None)
    assert_close(same, plain)


MEMORIES = {
    "error feedback": jd.compression.error_feedback(TOP),
    "int8": jd.compression.error_feedback(SIGN, residual_dtype="int8"),
    "ef21": jd.compression.ef21(TOP),
    "momentum": jd.compression.momentum_correction(TOP),
    "measured": jd.compression.measured(jd.compression.error_feedback(TOP)),
    "power_sgd": jd.compression.error_feedback(jd.compression.power_sgd(1)),
}


def memory_of(state):
    """Return all of an uplink but what all workers know alike."""
    paths = jax.tree.leaves_with_path(state.uplink)
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in paths
        if "right" not in jax.tree_util.keystr(path)
    }


@pytest.mark.parametrize("name", MEMORIES)
def test_what_absent_workers_remember_stays_untouched(name):
    tx = jd.aggregate(harness.AXIS, compressor=MEMORIES[name], weighted=True)
    clean = jax.tree.map(jnp.nan_to_num, UPDATES)
    one = jax.tree.map(lambda leaf: leaf[:1], clean)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf[0], leaf[1]]), clean)
    weight = np.stack([np.ones(8, np.float32), WEIGHT])
    before = memory_of(run(tx, updates=one, weight=weight[:1])[1])
    after = memory_of(run(tx, updates=two, weight=weight)[1])
    changed = set()
    for path, old in before.items():
        differs = np.asarray(old != after[path]).reshape(W, -1).any(axis=1)
        assert not differs[ABSENT].any(), path
        changed |= set(np.flatnonzero(differs))
    assert changed == set(np.flatnonzero(WEIGHT))


@pytest.mark.usefixtures("standard_promotion")
def test_a_residual_is_owed_in_units_of_the_next_step_size():
    """Half the step size doubles what is owed, also of those who were absent."""
    rate = optax.piecewise_constant_schedule(1.0, {1: 0.5})
    compressor = jd.compression.error_feedback(TOP, learning_rate=rate)
    tx = jd.aggregate(harness.AXIS, compressor=compressor)
    updates = {"a": jnp.ones((2, W, 10))}
    first = np.ones((1, W), np.float32)
    here = jax.tree.map(lambda leaf: leaf[:1], updates)
    owed = run(tx, updates=here, weight=first)[1].uplink.inner_state["a"].residual
    absent = np.stack([np.ones(W), np.arange(W) > 0]).astype(np.float32)
    state = run(tx, updates=updates, weight=absent)[1].uplink.inner_state["a"]
    np.testing.assert_array_equal(state.residual[0], 2 * owed[0])
    np.testing.assert_array_equal(state.count, 2)


TRANSFORMATIONS = {
    "mean": jd.aggregate(harness.AXIS, compressor=MEMORIES["error feedback"]),
    "both ways": jd.aggregate(
        harness.AXIS, jd.rules.median(), SIGN, downlink=MEMORIES["int8"]
    ),
    "previous": jd.aggregate(harness.AXIS, jd.rules.centered_clipping(1.0)),
    "memory": jd.aggregate(harness.AXIS, jd.rules.clipped_clustering(4)),
    "sharded": jd.shard_optimizer(harness.AXIS, optax.trace(0.9)),
    "ef21": jd.aggregate(
        harness.AXIS, jd.rules.krum(1), jd.compression.ef21(TOP), metrics=True
    ),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("backend", ["vmap", "shard_map"])
def test_where_all_are_absent_nothing_moves_but_the_count(name, backend):
    tx = TRANSFORMATIONS[name]
    updates = {"kernel": RNG.standard_normal((W, 12, 10)), "bias": np.ones((W, 7))}
    updates = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), updates)
    params = jax.tree.map(jnp.zeros_like, updates)

    def step(updates, state, weight):
        params = jax.tree.map(jnp.zeros_like, updates)
        return tx.update(updates, state, params, weight=weight)

    state = harness.run(tx.init, backend, params)
    moved, before = harness.run(step, backend, updates, state, jnp.ones(W))
    found, after = harness.run(step, backend, updates, before, jnp.zeros(W))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(moved))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found))
    np.testing.assert_array_equal(after.rule.num_absent, W)
    np.testing.assert_array_equal(after.count, 2)
    # What is told of the last step is told of this one.
    told = {"num_absent": 0, "num_nonfinite": 0, "metrics": ()}
    kept, old = (
        state._replace(count=jnp.zeros(()), rule=state.rule._replace(**told))
        for state in (after, before)
    )
    for left, right in zip(*map(jax.tree.leaves, (kept, old)), strict=True):
        left, right = map(harness.plain, map(jnp.asarray, (left, right)))
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "rule",
    [
        jd.rules.trimmed_mean(1),
        jd.rules.krum(1),
        jd.rules.nnm(1, then=jd.rules.median()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("scope", ["gradient", "leaf"])
def test_rules_see_those_who_are_there(rule, scope):
    tx = jd.aggregate(harness.AXIS, rule, scope=scope)
    results = [run(tx, backend)[0] for backend in harness.BACKENDS]
    for other in results[1:]:
        harness.assert_trees_close(other, results[0])
    there = np.flatnonzero(WEIGHT)
    present = jax.tree.map(lambda leaf: leaf[0, there], UPDATES)
    if scope == "leaf":
        expected = {name: jax.jit(rule)(leaf) for name, leaf in present.items()}
    else:
        expected = jax.jit(rule)(present)
    first = jax.tree.map(lambda leaf: leaf[0], results[0])
    assert_close(first, expected)


def test_metrics_know_who_was_absent():
    tx = jd.aggregate(harness.AXIS, jd.rules.krum(1), metrics=True)
    one = jax.tree.map(lambda leaf: leaf[:1], UPDATES)
    _, state = run(tx, updates=one, weight=STEPS[:1])
    metrics = jd.aggregation_metrics(jax.tree.map(lambda leaf: leaf[0], state))
    assert int(metrics.num_absent) == 2 and int(metrics.num_nonfinite) == 0
    np.testing.assert_array_equal(np.isnan(metrics.distances), WEIGHT == 0)
    assert not metrics.selected[ABSENT].any() and metrics.selected.sum() == 1


def test_the_report_counts_the_weights():
    tx = jd.aggregate(harness.AXIS, jd.rules.krum(2))
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[2:]), UPDATES)
    without = jd.communication_report(tx, like, W).total_nbytes
    report = jd.communication_report(tx, like, W, weight=1.0)
    assert report.total_nbytes == without + 7 * 4
    assert "(weights)" in str(report)

    def worker(updates, weight):
        updates = jax.tree.map(lambda leaf: leaf[0], updates)
        return tx.update(updates, tx.init(updates), weight=weight[0])[0]

    axis = PartitionSpec(harness.AXIS)
    mapped = jax.shard_map(
        worker, mesh=harness.make_mesh(), in_specs=axis, out_specs=PartitionSpec()
    )
    first = jax.tree.map(lambda leaf: leaf[0], UPDATES)
    text = jax.jit(mapped).lower(first, WEIGHT).compile().as_text()
    assert harness.bytes_sent(text) == pytest.approx(report.total_nbytes)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_what_is_no_weight_is_absent(bad):
    weight = STEPS.copy()
    weight[STEPS == 0] = bad
    found, _ = run(jd.aggregate(harness.AXIS), weight=weight)
    assert_close(found, weighted_means(UPDATES))


def test_static_mistakes_are_refused():
    tx = jd.aggregate("one")
    update = jax.jit(
        jax.vmap(
            lambda g, w: tx.update(g, tx.init(g), weight=w)[0],
            (0, None),
            axis_name="one",
        )
    )
    with pytest.raises(ValueError, match=r"`weight` must be one number.*shape \(2,\)"):
        update(jnp.ones((3, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"`weight` must lie in \[0.0, inf\), got -1"):
        jax.jit(
            jax.vmap(
                lambda g: tx.update(g, tx.init(g), weight=-1.0)[0], axis_name="one"
            )
        )(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="a number for the axis 'one', got one for"):
        jax.jit(
            jax.vmap(
                lambda g: tx.update(g, tx.init(g), weight={"two": 1.0})[0],
                axis_name="one",
            )
        )(jnp.ones((3, 2)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("route", ["psum", "gather", "scatter"])
def test_narrow_leaves_weigh(dtype, route):
    updates = {"a": jnp.asarray(RNG.standard_normal((3, W, 30)), dtype)}
    found, _ = run(jd.aggregate(harness.AXIS, route=route), updates=updates)
    assert found["a"].dtype == dtype
    exact = weighted_means({"a": updates["a"].astype(jnp.float32)})
    assert_close(found["a"].astype(jnp.float32), exact["a"], 2e-2)


def test_one_worker_alone():
    tx = jd.aggregate("one", jd.rules.median())
    update = jax.jit(
        jax.vmap(lambda g, w: tx.update(g, tx.init(g), weight=w)[0], axis_name="one")
    )
    np.testing.assert_array_equal(update(jnp.ones((1, 2)), jnp.ones(1)), [[1, 1]])
    np.testing.assert_array_equal(update(jnp.ones((1, 2)), jnp.zeros(1)), [[0, 0]])


def test_levels_have_weights_of_their_own():
    """Two pods of four: a pod counts as much as all of its devices."""
    mesh = jax.make_mesh(
        (2, 4), ("pod", "device"), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )
    tx = optax.chain(jd.aggregate("device"), jd.aggregate("pod"))
    updates = jnp.asarray(RNG.standard_normal((8, 5)), jnp.float32)
    expected = np.average(updates, axis=0, weights=WEIGHT)

    def step(updates, weight, levels):
        updates, weight = updates[0], weight[0]
        if levels:
            weight = {"device": weight, "pod": jax.lax.psum(weight, "device")}
        return tx.update(updates, tx.init(updates), weight=weight)[0]

    def mapped(levels):
        return jax.jit(
            jax.shard_map(
                lambda updates, weight: step(updates, weight, levels),
                mesh=mesh,
                in_specs=PartitionSpec(("pod", "device")),
                out_specs=PartitionSpec(),
            )
        )

    np.testing.assert_allclose(mapped(True)(updates, WEIGHT), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`weight` differs over \['device'\]"):
        mapped(False)(updates, WEIGHT)
