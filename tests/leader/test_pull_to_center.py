"""The centre and the workers pull each other as the paper says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.leader import timeline

AXIS = timeline.AXIS
RNG = np.random.default_rng(0)


def elastic(start, steps, strength, period=1, center="old"):
    """Return workers and centre: [W, d] of step 0, updates [steps, W, d], in NumPy."""
    workers, middle = start.astype(float), start.mean(axis=0).astype(float)
    for count, step in enumerate(steps, 1):
        is_due = count % period == 0
        moved = middle + is_due * strength * (workers - middle).sum(axis=0)
        towards = moved if center == "new" else middle
        workers = workers + step - is_due * strength * (workers - towards)
        middle = moved
    return workers, middle


def trained(tx, start, steps, backend="vmap"):
    """Return parameters and centre after steps of given lengths."""

    def worker(own, steps):
        def step(carry, update):
            own, state = carry
            updates, state = tx.update(update, state, own)
            return (own + updates, state), None

        (own, state), _ = jax.lax.scan(step, (own, tx.init(own)), steps)
        return own, state.center

    steps = jnp.swapaxes(jnp.asarray(steps, start.dtype), 0, 1)
    return harness.run(worker, backend, start, steps)


@pytest.mark.parametrize("backend", harness.BACKENDS)
@pytest.mark.parametrize("center", ["old", "new"])
@pytest.mark.parametrize("period", [1, 3])
def test_the_steps_of_the_paper(backend, center, period):
    start = RNG.standard_normal((8, 5)).astype(np.float32)
    steps = RNG.standard_normal((7, 8, 5)).astype(np.float32)
    tx = jd.pull_to_center(harness.AXIS, 0.1, period, center)
    own, middle = trained(tx, jnp.asarray(start), steps, backend)
    expected = elastic(start, steps, 0.1, period, center)
    np.testing.assert_allclose(own, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(middle, [expected[1]] * 8, rtol=1e-5, atol=1e-5)
    assert np.ptp(middle, axis=0).max() == 0


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_fixed_points_that_no_worker_alone_would_have(rate):
    """With f = (x^2 - 1)^2 / 4 two workers end at +-sqrt(1 - lambda), not at +-1."""
    tx = optax.chain(optax.sgd(0.05), jd.pull_to_center(AXIS, 0.05 * rate))

    def worker(x):
        def step(carry, _):
            x, state = carry
            gradient = jax.grad(lambda x: (x**2 - 1) ** 2 / 4)(x)
            updates, state = tx.update(gradient, state, x)
            return (x + updates, state), None

        return jax.lax.scan(step, (x, tx.init(x)), length=4000)[0][0]

    ends = jax.jit(jax.vmap(worker, axis_name=AXIS))(jnp.array([0.9, -0.9]))
    expected = np.sqrt(1 - rate) * np.array([1, -1])
    np.testing.assert_allclose(ends, expected, atol=1e-5)


def test_momentum_of_each_worker_before_it_is_eamsgd():
    tx = optax.chain(
        jd.per_worker(harness.AXIS, optax.sgd(0.1, 0.9, nesterov=True)),
        jd.pull_to_center(harness.AXIS, 0.05, period=2),
    )
    start = RNG.standard_normal((8, 3)).astype(np.float32)

    def worker(own):
        def step(carry, _):
            own, state = carry
            updates, state = tx.update(own, state, own)  # of |x|^2 / 2
            return (own + updates, state), None

        (own, state), _ = jax.lax.scan(step, (own, tx.init(own)), length=9)
        return own, state[1].center

    own, middle = harness.run(worker, "shard_map", start)
    workers, momentum, center = start, 0 * start, start.mean(axis=0)
    for count in range(1, 10):
        momentum = 0.9 * momentum + workers
        step = -0.1 * (workers + 0.9 * momentum)
        away = (count % 2 == 0) * 0.05 * (workers - center)
        workers, center = workers + step - away, center + away.sum(axis=0)
    np.testing.assert_allclose(own, workers, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(middle, [center] * 8, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spoiled", ["absent", "nan"])
@pytest.mark.parametrize("center", ["old", "new"])
def test_who_is_not_there_takes_no_part(spoiled, center):
    tx = jd.pull_to_center(AXIS, 0.25, center=center)
    params = jnp.array([2.0, np.nan if spoiled == "nan" else 50.0, 4.0])
    weight = jnp.array([1.0, float(spoiled == "nan"), 1.0])

    def worker(own, weight):
        updates, state = tx.update(own * 0, tx.init(jnp.zeros(())), own, weight=weight)
        return updates, state.center

    updates, middle = jax.jit(jax.vmap(worker, axis_name=AXIS))(params, weight)
    np.testing.assert_allclose(middle, [1.5] * 3)
    there = np.array([0, 2])
    towards = 1.5 if center == "new" else 0.0
    np.testing.assert_allclose(updates[there], -0.25 * (params[there] - towards))
    assert spoiled == "nan" or updates[1] == 0


def test_narrow_parameters_have_a_centre_in_float32():
    """In bfloat16 a centre at 1 would never move by 1/1000."""
    tx = jd.pull_to_center(AXIS, 1e-3)
    start = jnp.ones((2, 3), jnp.bfloat16)

    def worker(own):
        state = tx.init(own)
        updates, state = tx.update(own, state, own + own)
        return updates, state.center

    updates, middle = jax.jit(jax.vmap(worker, axis_name=AXIS))(start)
    assert updates.dtype == jnp.bfloat16 and middle.dtype == jnp.float32
    np.testing.assert_allclose(middle, 1 + 2 * 1e-3 * np.ones((2, 3)), rtol=1e-6)


@pytest.mark.parametrize("center", ["old", "new"])
def test_in_simulated_time_workers_take_part_when_their_own_count_is_due(center):
    tx = jd.pull_to_center(AXIS, 0.2, period=2, center=center)
    params = jnp.asarray(RNG.standard_normal((5, 3)), jnp.float32)
    state = timeline.start(tx, params)
    workers, middle = np.asarray(params, float), np.asarray(params).mean(axis=0)
    for who, counts in timeline.rounds(1, 5, 2, steps=12):
        steps = RNG.standard_normal((2, 3)).astype(np.float32)
        params, state = timeline.arrive(
            tx, params, state, who, counts, jnp.asarray(steps), np.zeros(2)
        )
        due = (counts % 2 == 0)[:, None]
        moved = middle + 0.2 * (due * (workers[who] - middle)).sum(axis=0)
        towards = moved if center == "new" else middle
        workers[who] += steps - 0.2 * due * (workers[who] - towards)
        middle = moved
    np.testing.assert_allclose(params, workers, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.center, middle, rtol=1e-5, atol=1e-5)


def radius_of_a_round(num_workers, strength, rate=1.0):
    """Return the spectral radius of one step of each worker in turn, on x^2 / 2."""
    tx = jd.pull_to_center(AXIS, strength)

    def one_round(position):
        params, center = position[:-1], position[-1]
        state = jd.PullToCenterState(jnp.zeros((), jnp.int32), center)
        for worker in range(num_workers):
            own = params[worker : worker + 1]
            params, state = timeline.arrive(
                tx, params, state, [worker], [1], -rate * own, [0.0]
            )
        return jnp.append(params, state.center)

    matrix = jax.jit(jax.jacobian(one_round))(jnp.zeros(num_workers + 1))
    return np.abs(np.linalg.eigvals(matrix)).max()


@pytest.mark.parametrize(
    ("num_workers", "below", "above"), [(1, 0.9820, 1.0180), (8, 0.9742, 1.0172)]
)
def test_stability_limit_of_a_round_robin(num_workers, below, above):
    """It is (4 - 2 eta) / (4 - eta) for one worker, and just above for more."""
    limit = 2 / 3  # for eta = 1
    radii = [radius_of_a_round(num_workers, limit + off) for off in (-0.01, 0.01)]
    np.testing.assert_allclose(radii, [below, above], atol=2e-4)


def test_bytes_of_a_pull():
    params = {"w": jnp.ones(10), "half": jnp.ones(6, jnp.bfloat16)}
    always, sometimes = (
        jd.communication_report(jd.pull_to_center(AXIS, 0.1, period), params, 8)
        for period in (1, 4)
    )
    assert always.total_nbytes == pytest.approx(2 * 7 / 8 * 4 * 16)
    assert sometimes.total_nbytes == pytest.approx(always.total_nbytes / 4)
    assert [row.leaf for row in always.shipments] == ["half", "w"]


def test_the_recipes_train_with_it():
    def loss(params, batch):
        return jnp.mean((params - batch) ** 2)

    tx = optax.chain(optax.sgd(0.1), jd.pull_to_center("data", 0.1, period=2))
    batch = np.arange(8, dtype=np.float32)
    left, right = harness.train_on_mesh_and_simulated(loss, tx, batch)
    np.testing.assert_allclose(left.params, right.params, rtol=1e-5)
    center = left.opt_state[1].center
    assert center.shape == () and 0 < float(center) < 3.5
    np.testing.assert_allclose(center, right.opt_state[1].center, rtol=1e-5)


def test_what_is_missing_or_common():
    tx = jd.pull_to_center(harness.AXIS, 0.1)

    def worker(own, params):
        return tx.update(own, tx.init(own), params)[0]

    with pytest.raises(ValueError, match="pull_to_center needs `params`"):
        harness.run(lambda own: worker(own, None), "vmap", jnp.ones(8))
    with pytest.raises(ValueError, match="pull_to_center has nothing to do"):
        harness.run(lambda own: worker(own, jnp.ones(())), "shard_map", jnp.ones(8))
    with pytest.raises(TypeError, match="`params` must be floating-point"):
        tx.init(jnp.ones(3, jnp.int32))
    with pytest.raises(TypeError, match="`arrival` must be of type Arrival"):
        harness.run(
            lambda own: tx.update(own, tx.init(own), own, arrival=3)[0],
            "vmap",
            jnp.ones(8),
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), r"`strength` must lie in \[0.0, 1.0\], got 1.5"),
        ((0.1, 0), "`period` must be an integer >= 1, got 0"),
        ((0.1, 1, "mid"), "`center` must be one of 'old', 'new', got 'mid'"),
    ],
)
def test_arguments_have_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.pull_to_center(AXIS, *arguments)
