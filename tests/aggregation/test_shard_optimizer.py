"""Moments on 1/W of the memory, and the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

pytestmark = pytest.mark.usefixtures("standard_promotion")
UPDATES = {
    "w": jax.random.normal(jax.random.key(0), (4, 8, 9, 7)),
    "b": jax.random.normal(jax.random.key(1), (4, 8)),
}
PARAMS = jax.tree.map(lambda leaf: jnp.ones_like(leaf[0]), UPDATES)
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())


def replicated(inner, *args):
    return optax.chain(jd.aggregate(harness.AXIS, *args), inner)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_it_equals_the_replicated_optimizer(backend):
    inner = optax.adamw(0.1, weight_decay=0.3)
    tx = jd.shard_optimizer(harness.AXIS, inner)
    out, _ = harness.run_steps(tx, backend, PARAMS, UPDATES)
    expected, _ = harness.run_steps(replicated(inner), backend, PARAMS, UPDATES)
    harness.assert_trees_close(out, expected)


def test_rule_and_compressor_are_those_of_aggregate():
    arguments = (jd.rules.trimmed_mean(2), SIGN)
    tx = jd.shard_optimizer(harness.AXIS, optax.adam(0.1), *arguments)
    out, _ = harness.run_steps(tx, "shard_map", PARAMS, UPDATES)
    chain = replicated(optax.adam(0.1), *arguments, "scatter")
    expected, _ = harness.run_steps(chain, "shard_map", PARAMS, UPDATES)
    harness.assert_trees_close(out, expected)


def test_init_sees_the_own_part_of_the_parameters():
    """Some optimizers start from the parameters."""

    def remember(params):
        return jax.tree.map(jnp.copy, params)

    inner = optax.GradientTransformation(
        remember, lambda u, s, p: (jax.tree.map(jnp.subtract, s, p), s)
    )
    tx = jd.shard_optimizer(harness.AXIS, inner)
    params = jax.tree.map(
        lambda leaf: jnp.broadcast_to(
            jnp.arange(leaf[0].size * 1.0), (8, leaf[0].size)
        ),
        PARAMS,
    )
    updates = jax.tree.map(lambda leaf: jnp.ones((2, *leaf.shape)), params)
    out, _ = harness.run_steps(tx, "shard_map", params, updates)
    for leaf in jax.tree.leaves(out):
        np.testing.assert_array_equal(leaf, 0)


def state_nbytes(state):
    """Return the bytes that the first device holds."""
    return sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state)
    )


def train(tx, mesh, steps=3):
    init, step = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    state = init(problem.PARAMS)
    for _ in range(steps):
        state, _ = step(state, problem.BATCH)
    return state


def test_each_worker_holds_its_part_of_the_moments():
    mesh = harness.make_mesh()
    sharded = train(jd.shard_optimizer(harness.AXIS, optax.adam(0.01)), mesh)
    whole = train(replicated(optax.adam(0.01)), mesh)
    harness.assert_trees_close(sharded.params, whole.params)
    moments = 2 * 4 * sum(leaf.size for leaf in jax.tree.leaves(problem.PARAMS))
    counts = 3 * 4  # of aggregate: steps, not finite, absent; nothing is drawn
    assert state_nbytes(whole.opt_state) == moments + counts + 4
    assert state_nbytes(sharded.opt_state) == moments / 8 + counts + 4
    jd.assert_replicas_equal(sharded)


def test_the_compiled_step_takes_no_more_memory_than_that():
    """XLA's own count of what a step is given."""

    def given(tx):
        mesh = harness.make_mesh()
        params = {"w": jnp.ones((64, 64))}
        specs = jd.state_specs(tx, params, harness.AXIS)
        state = jd.init(tx, params, mesh, harness.AXIS)

        def step(state, params):
            own = jax.tree.map(lambda x: x * (1 + jax.lax.axis_index("data")), params)
            return tx.update(own, state, params)

        spec = jax.sharding.PartitionSpec()
        mapped = jax.shard_map(
            step, mesh=mesh, in_specs=(specs, spec), out_specs=(spec, specs)
        )
        compiled = jax.jit(mapped).lower(state, params).compile()
        return compiled.memory_analysis().argument_size_in_bytes

    whole = given(replicated(optax.adam(0.01)))
    sharded = given(jd.shard_optimizer(harness.AXIS, optax.adam(0.01)))
    size = 4 * 64 * 64
    assert whole - sharded == 2 * size * 7 / 8


def test_the_number_of_workers_may_change():
    """The moments are cut again: four workers go on as eight."""
    tx = jd.shard_optimizer(harness.AXIS, optax.adam(0.01), compressor=SIGN)
    state = jax.device_get(train(tx, jax.make_mesh((4,), ("data",))))
    resized = jd.resize_residuals(state.opt_state, 4, 8, problem.PARAMS)
    wanted = jax.eval_shape(
        lambda: jd.init(tx, problem.PARAMS, harness.make_mesh(), harness.AXIS)
    )
    assert jax.tree.structure(resized) == jax.tree.structure(wanted)
    wanted_shapes = jax.tree.map(jnp.shape, wanted)
    assert jax.tree.map(jnp.shape, resized) == wanted_shapes
    before, after = (
        s.downlink.inner_state.inner_state[0] for s in (state.opt_state, resized)
    )
    np.testing.assert_array_equal(after.count, 3)
    for moment in ("mu", "nu"):
        for name, leaf in problem.PARAMS.items():
            old, new = (getattr(s, moment)[name] for s in (before, after))
            joined = [np.asarray(part).reshape(-1)[: leaf.size] for part in (old, new)]
            np.testing.assert_array_equal(*joined)


def _matrices(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_clipped_by_the_norm_of_all_and_masked_by_rank_and_name(backend):
    """The recipe of most labs: clip, then AdamW that does not decay all leaves."""
    inner = optax.chain(
        optax.adamw(0.1, weight_decay=0.3, mask=_matrices),
        optax.partition(
            {"a": optax.identity(), "b": optax.scale(0.5)}, {"w": "a", "b": "b"}
        ),
    )
    tx = jd.shard_optimizer(harness.AXIS, inner, max_norm=0.5)
    chain = replicated(optax.chain(optax.clip_by_global_norm(0.5), inner))
    params = {"w": PARAMS["w"], "b": PARAMS["b"]}
    out, _ = harness.run_steps(tx, backend, params, UPDATES)
    expected, _ = harness.run_steps(chain, backend, params, UPDATES)
    harness.assert_trees_close(out, expected)


def test_the_norm_of_all_is_in_the_report():
    def total(**options):
        tx = jd.shard_optimizer(harness.AXIS, optax.sgd(1.0), **options)
        return jd.communication_report(tx, problem.PARAMS, 8).total_nbytes

    assert total(max_norm=1.0) == total() + 2 * 7 / 8 * 4


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (
            optax.clip_by_global_norm(1.0),
            "mixes the elements.*'reduce_sum'.*`max_norm`",
        ),
        (optax.lamb(0.1), "mixes the elements"),
        (
            optax.adamw(0.1, mask=lambda p: jax.tree.map(lambda x: x.size > 60, p)),
            "must not look at shapes",
        ),
    ],
)
def test_what_needs_whole_leaves_is_refused(inner, message):
    tx = jd.shard_optimizer(harness.AXIS, inner)
    with pytest.raises(ValueError, match=message):
        jax.jit(jax.vmap(tx.init, axis_name=harness.AXIS))(PARAMS)


def test_leaves_must_not_be_joined():
    joint = jd.compression.by_leaf(
        jd.compression.top_k(0.1), min_ndim=0, min_size=0, joint=True
    )
    tx = jd.shard_optimizer(harness.AXIS, optax.sgd(1.0), compressor=joint)
    with pytest.raises(ValueError, match="leave each leaf alone"):
        jax.jit(jax.vmap(tx.init, axis_name=harness.AXIS))(PARAMS)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`max_norm` must lie in"):
        jd.shard_optimizer("data", optax.sgd(0.1), max_norm=0.0)
    with pytest.raises(TypeError, match="`inner` must be .* optax.sgd"):
        jd.shard_optimizer("data", 0.1)
    tx = jd.shard_optimizer(harness.AXIS, optax.adam(0.1))
    with pytest.raises(NameError, match="number of workers must be known"):
        tx.init(jnp.ones(3))
    with pytest.raises(ValueError, match="shard_optimizer needs `params`"):
        tx.update(jnp.ones(3), ())
