"""Transformations live in a flax optimizer, which replaces their named tuples."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType

import jaxdist as jd
from tests import harness

LOCAL = {
    "compress": jd.compress(jd.compression.error_feedback(jd.compression.top_k(0.1))),
    "delay": jd.delay_updates(2),
}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", LOCAL)
def test_state_inherits_the_sharding_of_the_parameters(name):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        kernel_init = nnx.with_partitioning(
            nnx.initializers.lecun_normal(), ("data", "model")
        )
        model = nnx.Linear(8, 6, kernel_init=kernel_init, rngs=nnx.Rngs(0))
        tx = optax.chain(LOCAL[name], optax.sgd(0.1))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, inputs):
            def loss(model):
                return jnp.mean(model(inputs) ** 2)

            optimizer.update(model, nnx.grad(loss)(model))

        before = set(nnx.to_flat_state(nnx.state(optimizer)).paths)
        for _ in range(3):
            step(model, optimizer, jnp.ones((4, 8)))
        assert set(nnx.to_flat_state(nnx.state(optimizer)).paths) == before
        kernels = [
            leaf
            for leaf in jax.tree.leaves(nnx.state(optimizer))
            if getattr(leaf, "ndim", 0) >= 2 and leaf.shape[:2] == (8, 6)
        ]
        assert kernels
        for leaf in kernels:
            assert leaf.sharding.spec[:2] == ("data", "model")


C = jd.compression
TOP = C.error_feedback(C.top_k(0.2))
TRANSFORMATIONS = {
    "error_feedback": jd.compress(TOP),
    "power_sgd": jd.compress(C.error_feedback(C.power_sgd(2))),
    "ef21": jd.compress(C.ef21(C.top_k(0.2))),
    "momentum_correction": jd.compress(C.momentum_correction(C.top_k(0.2))),
    "int8": jd.compress(C.error_feedback(C.top_k(0.2), residual_dtype="int8")),
    "by_leaf": jd.compress(C.by_leaf(TOP, {"*bias*": C.qsgd(4)}, min_size=0)),
    "joint": jd.compress(C.by_leaf(TOP, min_size=4, joint=True)),
    "per_worker": jd.per_worker(harness.AXIS, jd.compress(TOP)),
    "aggregate": jd.aggregate(harness.AXIS, compressor=TOP),
    "absent": jd.aggregate(harness.AXIS, compressor=TOP),
    "ef21-aggregate": jd.aggregate(
        harness.AXIS, compressor=C.ef21(C.top_k(0.2)), route="gather"
    ),
    "downlink": jd.aggregate(harness.AXIS, jd.rules.trimmed_mean(2), downlink=TOP),
    "previous": jd.aggregate(harness.AXIS, jd.rules.centered_clipping(1.0, 2)),
    "leaf": jd.aggregate(harness.AXIS, compressor=TOP, scope="leaf"),
    "skip_nonfinite": jd.skip_nonfinite(
        harness.AXIS, jd.aggregate(harness.AXIS, compressor=TOP)
    ),
    "delay": jd.delay_updates([0.5, 0.3, 0.2]),
    "local_updates": jd.local_updates(
        harness.AXIS,
        optax.sgd(0.1, momentum=0.9),
        optax.chain(
            jd.aggregate(harness.AXIS, compressor=TOP), optax.sgd(0.7, momentum=0.9)
        ),
        period=2,
    ),
    "pull_to_center": jd.pull_to_center(harness.AXIS, 0.1, period=2),
    "mix_with_neighbors": jd.mix_with_neighbors(harness.AXIS, jd.gossip.ring()),
    "choco": jd.mix_with_neighbors(harness.AXIS, jd.gossip.ring(), C.qsgd(8, 8)),
    "bridge": jd.mix_with_neighbors(
        harness.AXIS, jd.gossip.ring(), C.top_k(0.2), jd.rules.clipped_clustering(4)
    ),
    "exact_diffusion": jd.exact_diffusion(harness.AXIS, jd.gossip.ring()),
    "track_gradient": jd.track_gradient(harness.AXIS, jd.gossip.ring()),
    "push_sum": jd.push_sum(harness.AXIS, jd.gossip.one_peer_exponential()),
}


def loss(model, rows):
    return jnp.mean((model(rows[:, :8]) - rows[:, 8:]) ** 2)


def train(start, step):
    """Take three steps, each of them a call of one program; return the last state."""
    inputs = jax.random.normal(jax.random.key(1), (harness.NUM_WORKERS, 16, 14))
    state = jax.jit(jax.vmap(start, axis_name=harness.AXIS))(inputs)
    program = jax.jit(jax.vmap(step, axis_name=harness.AXIS))
    for _ in range(3):
        state = program(state, inputs)
    return state


def with_optimizer(tx, extra):
    """Return the parameters after steps of a flax optimizer, which is taken apart."""
    graphs = []

    def start(rows):
        del rows
        model = nnx.Linear(8, 6, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        graph, state = nnx.split((model, optimizer))
        graphs.append(graph)
        return state

    def step(state, rows):
        model, optimizer = nnx.merge(graphs[0], state)
        optimizer.update(model, nnx.grad(loss)(model, rows), **extra)
        return nnx.split((model, optimizer))[1]

    return nnx.as_pure(train(start, step)[0])


def without_optimizer(tx, extra):
    """Return the same of the transformation alone."""
    graph, params = nnx.split(nnx.Linear(8, 6, rngs=nnx.Rngs(0)))
    params = nnx.as_pure(params)

    def start(rows):
        del rows
        return params, tx.init(params)

    def step(carry, rows):
        params, state = carry
        gradient = jax.grad(lambda p: loss(nnx.merge(graph, p), rows))(params)
        updates, state = tx.update(gradient, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return train(start, step)[0]


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_steps_of_a_flax_optimizer_are_those_of_its_transformation(name):
    tx = optax.chain(TRANSFORMATIONS[name], optax.sgd(0.3))
    extra = {"weight": jnp.ones(())} if name == "absent" else {}
    harness.assert_trees_close(with_optimizer(tx, extra), without_optimizer(tx, extra))
