"""Parameters are mixed as the matrix says, before steps or after them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.gossip import problem

RNG = np.random.default_rng(0)
ORDERS = pytest.mark.parametrize("order", ["combine_then_adapt", "adapt_then_combine"])


@ORDERS
@pytest.mark.parametrize("step_size", [1.0, 0.3])
def test_the_steps_of_the_paper(order, step_size):
    topology = jd.gossip.one_peer_exponential()
    tx = jd.mix_with_neighbors(harness.AXIS, topology, step_size=step_size, order=order)
    start = RNG.standard_normal((8, 5)).astype(np.float32)
    steps = RNG.standard_normal((5, 8, 5)).astype(np.float32)

    def worker(own, steps):
        def step(carry, update):
            own, state = carry
            updates, state = tx.update(update, state, own)
            return (own + updates, state), None

        return jax.lax.scan(step, (own, tx.init(own)), steps)[0][0]

    found = harness.run(worker, "vmap", start, jnp.swapaxes(steps, 0, 1))
    own = start.astype(float)
    for count, step in enumerate(steps):
        matrix = topology.matrix(8, count % 3) * step_size
        matrix += (1 - step_size) * np.eye(8)
        before = order == "combine_then_adapt"
        own = matrix @ own + step if before else matrix @ (own + step)
    np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("adapt_then_combine", [1.46520147, 1.43956044, 1.56043956, 1.53479853]),
        ("combine_then_adapt", [1.3346815, 1.40444894, 1.59555106, 1.6653185]),
    ],
)
def test_fixed_points_of_a_ring(order, expected):
    """With f_i = (x - i)^2 / 2 of four workers and steps of 0.1."""
    tx = jd.mix_with_neighbors(problem.AXIS, jd.gossip.ring(), order=order)
    centers = np.arange(4.0)[:, None]
    ends = problem.trained(tx, 400, np.ones((4, 1)), centers, rate=0.1)
    np.testing.assert_allclose(ends[:, 0], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("topology", "order", "expected"),
    [
        (jd.gossip.ring(), "adapt_then_combine", 0.145),
        (jd.gossip.ring(), "combine_then_adapt", 0.234),
        (jd.gossip.exponential(), "adapt_then_combine", 0.0144),
        (jd.gossip.one_peer_exponential(), "adapt_then_combine", 0.0395),
    ],
)
def test_errors_on_quadratics(topology, order, expected):
    tx = jd.mix_with_neighbors(problem.AXIS, topology, order=order)
    error = problem.mean_squared_error(problem.trained(tx, 901))
    assert error == pytest.approx(expected, rel=0.02)


def test_the_mean_stays():
    tx = jd.mix_with_neighbors(harness.AXIS, jd.gossip.exponential())
    params = jnp.asarray(RNG.standard_normal((8, 20)), jnp.float32)
    out, _ = harness.run_steps(tx, "vmap", params, jnp.zeros((1, 8, 20)))
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)
    assert jd.consensus_distance(params + out[:, 0]) < jd.consensus_distance(params)


@ORDERS
def test_the_recipes_train_with_it(order):
    def loss(params, batch):
        return jnp.mean((params - batch) ** 2)

    tx = optax.chain(
        jd.per_worker("data", optax.sgd(0.1, momentum=0.5)),
        jd.mix_with_neighbors("data", jd.gossip.ring(), order=order),
    )
    batch = np.arange(8, dtype=np.float32)
    left, right = harness.train_on_mesh_and_simulated(loss, tx, batch)
    np.testing.assert_allclose(left.params, right.params, rtol=1e-5, atol=1e-6)
    assert np.ptp(left.params) > 0
    np.testing.assert_allclose(
        jd.average_params(left.params), np.mean(left.params), rtol=1e-5
    )


def test_the_step_size_may_follow_a_schedule():
    tx = optax.inject_hyperparams(
        jd.mix_with_neighbors, static_args=("axis_name", "topology", "order", "key")
    )(harness.AXIS, jd.gossip.complete(), step_size=optax.linear_schedule(0.5, 1.0, 1))
    params = jnp.arange(8.0)
    out, _ = harness.run_steps(tx, "shard_map", params, jnp.zeros((2, 8)))
    away = 3.5 - params
    np.testing.assert_allclose(out[:, 0], 0.5 * away, rtol=1e-5)
    np.testing.assert_allclose(out[:, 1], away, rtol=1e-5)


def test_what_is_missing_or_common():
    tx = jd.mix_with_neighbors(harness.AXIS, jd.gossip.ring())

    def worker(own, params):
        return tx.update(own, tx.init(own), params)[0]

    with pytest.raises(ValueError, match="mix_with_neighbors needs `params`"):
        harness.run(lambda own: worker(own, None), "vmap", jnp.ones(8))
    with pytest.raises(ValueError, match="mix_with_neighbors has nothing to do"):
        harness.run(lambda own: worker(own, jnp.ones(())), "shard_map", jnp.ones(8))
    with pytest.raises(ValueError, match=r"`num_workers` must be 16 .*got 8"):
        wrong = jd.mix_with_neighbors(harness.AXIS, jd.gossip.torus(4, 4))
        harness.run_steps(wrong, "vmap", jnp.ones(8), jnp.ones((1, 8)))
    with pytest.raises(TypeError, match="`params` must be floating-point"):
        tx.init(jnp.ones(3, jnp.int32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_size": 1.5}, r"`step_size` must lie in \(0.0, 1.0\], got 1.5"),
        ({"order": "mid"}, "`order` must be one of 'combine_then_adapt', .*got 'mid'"),
    ],
)
def test_arguments_have_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.mix_with_neighbors("data", jd.gossip.ring(), **arguments)


def test_rows_alone_do_not_keep_the_mean():
    rows = jd.gossip.graph([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.25, 0.0, 0.75]])
    with pytest.raises(ValueError, match="`topology` of mix_.* only the rows do"):
        jd.mix_with_neighbors("data", rows)


def test_room_for_neighbours_needs_their_number():
    top = jd.compression.top_k(0.5)
    anywhere = jd.mix_with_neighbors("x", jd.gossip.ring(), top, jd.rules.median())
    with pytest.raises(NameError, match=r"under median\(\), so the number of workers"):
        anywhere.init(jnp.ones(3))
    grid = jd.mix_with_neighbors("x", jd.gossip.torus(4, 4), top, jd.rules.median())
    assert grid.init(jnp.ones(3)).estimates.others.inner_state.shape == (1, 3, 4)
