"""EF21: what receivers believe, and the rate of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd

NUM_WORKERS, SIZE = 8, 24


def run(tx, gradients, steps):
    """Feed the same gradients ``[W, ...]`` again and again; return the last update."""

    def worker(gradient):
        def step(state, _):
            update, state = tx.update(gradient, state)
            return state, update

        state, updates = jax.lax.scan(step, tx.init(gradient), None, length=steps)
        return updates, state

    return jax.jit(jax.vmap(worker, axis_name="data"))(gradients)


GRADIENTS = jax.random.normal(jax.random.key(0), (NUM_WORKERS, SIZE))


@pytest.mark.parametrize(
    "rule", [jd.rules.mean(), jd.rules.median(), jd.rules.trimmed_mean(2)]
)
@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_estimates_reach_the_gradients(rule, route):
    tx = jd.aggregate(
        "data", rule, jd.compression.ef21(jd.compression.top_k(0.2)), route
    )
    updates, _ = run(tx, GRADIENTS, 2 * SIZE)
    np.testing.assert_allclose(updates[0, -1], rule(GRADIENTS), atol=1e-6)


def test_the_way_back_may_be_incremental_too():
    down = jd.compression.ef21(jd.compression.scaled_sign())
    tx = jd.aggregate(
        "data",
        jd.rules.mean(),
        jd.compression.ef21(jd.compression.top_k(0.2)),
        downlink=down,
    )
    updates, _ = run(tx, GRADIENTS, 400)
    np.testing.assert_allclose(updates[0, -1], GRADIENTS.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "route", "whole", "part"),
    [
        (jd.rules.mean(), "gather", (SIZE,), None),
        (jd.rules.median(), "gather", (NUM_WORKERS, SIZE), None),
        (jd.rules.mean(), "scatter", None, (1, SIZE // NUM_WORKERS)),
        (jd.rules.median(), "scatter", None, (1, NUM_WORKERS, SIZE // NUM_WORKERS)),
    ],
)
def test_receivers_hold_no_more_than_they_need(rule, route, whole, part):
    tx = jd.aggregate(
        "data", rule, jd.compression.ef21(jd.compression.top_k(0.2)), route
    )
    make = jax.vmap(tx.init, axis_name="data", axis_size=NUM_WORKERS, in_axes=None)
    estimates = jax.eval_shape(make, jnp.zeros(SIZE)).estimates
    for tree, shape in ((estimates.whole, whole), (estimates.part.inner_state, part)):
        arrays = [array.shape[1:] for array in jax.tree.leaves(tree)]
        assert arrays == ([] if shape is None else [shape])


@pytest.mark.parametrize(
    "more", [{}, {"downlink": jd.compression.ef21(jd.compression.top_k(0.1))}]
)
def test_the_recipes_choose_a_route(more):
    """Specs are made without W, so the choice must not depend on it."""
    tx = optax.chain(
        jd.aggregate(
            "data", compressor=jd.compression.ef21(jd.compression.top_k(0.1)), **more
        ),
        optax.sgd(0.3),
    )
    inputs = jax.random.normal(jax.random.key(0), (64, 30))
    batch = (inputs, inputs @ jnp.ones((30, 10)))

    def loss(weights, batch):
        return jnp.mean((batch[0] @ weights - batch[1]) ** 2)

    recipes = [
        jd.simulate(loss, tx, num_workers=8, axis_name="data"),
        jd.data_parallel(loss, tx, jax.make_mesh((8,), ("data",)), "data"),
    ]
    losses = []
    for init, step in recipes:
        state = init(jnp.zeros((30, 10)))
        for _ in range(30):
            state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0] < 5


def test_without_workers_the_state_cannot_be_made_and_says_so():
    tx = jd.aggregate("data", compressor=jd.compression.ef21(jd.compression.top_k(0.2)))
    with pytest.raises(NameError, match="data"):
        tx.init(jnp.zeros(3))


def test_a_worker_that_sees_nan_keeps_its_last_estimate():
    tx = jd.compress(jd.compression.ef21(jd.compression.identity(), momentum=0.5))
    gradient = jnp.array([1.0, 2.0])
    state = tx.init(gradient)
    _, state = tx.update(gradient, state)
    seen, state = tx.update(gradient.at[0].set(jnp.nan), state)
    np.testing.assert_array_equal(seen, [1, 2])
    seen, _ = tx.update(jnp.array([3.0, 2.0]), state)
    np.testing.assert_array_equal(seen, [2, 2])


def test_momentum_starts_at_the_first_gradient():
    tx = jd.compress(jd.compression.ef21(jd.compression.identity(), momentum=0.75))
    state = tx.init(jnp.zeros(1))
    seen = []
    for value in (4.0, 0.0, 4.0):
        update, state = tx.update(jnp.array([value]), state)
        seen.append(float(update[0]))
    assert seen == [4.0, 3.0, 3.25]


def test_lyapunov_function_of_the_paper_never_grows():
    """Of f - f* + gamma/(2 theta) G_t, with full gradients and the paper's step."""
    rng = np.random.default_rng(0)
    curvature = jnp.asarray(rng.uniform(0.5, 2.0, (NUM_WORKERS, SIZE)), jnp.float32)
    center = jnp.asarray(
        1 + 0.5 * rng.standard_normal((NUM_WORKERS, SIZE)), jnp.float32
    )
    contraction = 1 / 8
    theta = 1 - np.sqrt(1 - contraction)
    ratio = (1 + np.sqrt(1 - contraction)) / contraction - 1
    assert (theta, ratio) == pytest.approx((0.064586, 14.4833), abs=1e-4)
    smooth = float(curvature.mean(axis=0).max())
    each = float(np.sqrt((np.asarray(curvature).max(axis=1) ** 2).mean()))
    rate = 1 / (smooth + each * ratio)
    tx = jd.aggregate(
        "data",
        jd.rules.mean(),
        jd.compression.ef21(jd.compression.top_k(contraction)),
        "gather",
    )

    def loss(x):
        return 0.5 * jnp.mean(jnp.sum(curvature * (x[None] - center) ** 2, axis=1))

    def worker(curvature, center):
        def step(carry, _):
            x, state = carry
            gradient = curvature * (x - center)
            update, state = tx.update(gradient, state)
            estimate = jax.tree.leaves(state.uplink, is_leaf=_is_ef21)[0].estimate[0]
            return (x - rate * update, state), (x, jnp.sum((estimate - gradient) ** 2))

        start = jnp.zeros(SIZE)
        _, history = jax.lax.scan(step, (start, tx.init(start)), None, length=300)
        return history

    xs, gaps = jax.jit(jax.vmap(worker, axis_name="data"))(curvature, center)
    best = (curvature * center).mean(axis=0) / curvature.mean(axis=0)
    values = jax.jit(jax.vmap(loss))(xs[0]) - loss(best)
    lyapunov = np.asarray(values + rate / (2 * theta) * gaps.mean(axis=0), np.float64)
    assert (np.diff(lyapunov) <= 1e-5 * lyapunov[0]).all()
    assert lyapunov[-1] < 0.05 * lyapunov[0]


def _is_ef21(node):
    return isinstance(node, jd.compression.Ef21State)


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_momentum_has_a_range(momentum):
    with pytest.raises(ValueError, match=r"`momentum` must lie in \[0.0, 1.0\)"):
        jd.compression.ef21(jd.compression.top_k(0.1), momentum)


@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_of_what_is_not_finite_nothing_is_sent(route):
    """A sign has no zero: what has no change to send must not change."""
    compressor = jd.compression.ef21(jd.compression.scaled_sign(block_size=3))
    tx = jd.aggregate("data", jd.rules.mean(), compressor, route)
    bad = GRADIENTS.at[0, 0].set(jnp.nan).at[1, 1].set(-jnp.inf)
    updates, state = run(tx, bad, 1)
    after, expected = (
        np.asarray(x[0, -1]) for x in (updates, run(tx, GRADIENTS, 1)[0])
    )
    np.testing.assert_allclose(after[3:], expected[3:], rtol=1e-6)
    sizes = np.abs(GRADIENTS[2:, :3]).mean(axis=1, keepdims=True)
    signs = np.where(np.asarray(GRADIENTS[2:, :3]) >= 0, sizes, -sizes)
    np.testing.assert_allclose(after[:3], signs.sum(axis=0) / NUM_WORKERS, rtol=1e-5)
    # Senders and receivers still know the same.
    own = state.uplink.inner_state.estimate[:, 0]
    np.testing.assert_allclose(own.mean(axis=0), after, rtol=1e-5)
    np.testing.assert_array_equal(own[:2, :3], np.zeros((2, 3)))
