"""Leader pull: fixed points of the paper, ties, and workers that must not lead."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.workers import _arrival
from tests import harness
from tests.leader import timeline

AXIS = "worker"


def pull(tx, params, losses, updates=None):
    def step(params, loss, updates):
        return tx.update(updates, tx.init(params), params, value=loss)[0]

    updates = jnp.zeros_like(params) if updates is None else updates
    return jax.jit(jax.vmap(step, axis_name=AXIS))(params, losses, updates)


@pytest.mark.parametrize(
    ("pull_rate", "follower"),
    [(0.1, -0.8872983346), (0.2, -0.7236067977), (0.3, 1.0), (0.5, 1.0)],
)
def test_fixed_points_in_a_double_well(pull_rate, follower):
    """With f = (x^2 - 1)^2 / 4 the leader is at 1, the follower at the root below.

    The paper's gradient step eta lambda (x - leader) and the pull after the step have
    the same fixed points for strength = eta lambda / (1 + eta lambda).
    """
    rate = 0.05
    strength = rate * pull_rate / (1 + rate * pull_rate)
    tx = optax.chain(optax.sgd(rate), jd.pull_to_leader(AXIS, strength))

    def worker(x):
        def step(carry, _):
            x, state = carry
            loss, gradient = jax.value_and_grad(lambda x: (x**2 - 1) ** 2 / 4)(x)
            updates, state = tx.update(gradient, state, x, value=loss)
            return (x + updates, state), None

        return jax.lax.scan(step, (x, tx.init(x)), length=4000)[0][0]

    ends = jax.jit(jax.vmap(worker, axis_name=AXIS))(jnp.array([1.05, -0.9]))
    np.testing.assert_allclose(ends, [1.0, follower], atol=1e-5)


def test_everybody_goes_part_of_the_way_to_where_the_leader_steps():
    params, updates = jnp.array([[0.0], [4.0]]), jnp.array([[1.0], [2.0]])
    moved = params + pull(
        jd.pull_to_leader(AXIS, 0.25), params, jnp.array([1.0, 2.0]), updates
    )
    np.testing.assert_allclose(moved, [[1.0], [6.0 - 0.25 * 5.0]])


def test_strength_one_copies_and_zero_leaves_alone():
    params, losses = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([3.0, 1.0, 2.0])
    np.testing.assert_allclose(
        params + pull(jd.pull_to_leader(AXIS, 1.0), params, losses), [[2.0]] * 3
    )
    np.testing.assert_array_equal(
        pull(jd.pull_to_leader(AXIS, 0.0), params, losses), jnp.zeros((3, 1))
    )


@pytest.mark.parametrize(
    ("losses", "leader"),
    [
        ([2.0, 1.0, 1.0], 1),
        ([np.nan, 3.0, 2.0], 2),
        ([-np.inf, 3.0, 2.0], 2),
        ([np.inf, 5.0, np.nan], 1),
    ],
)
def test_who_leads(losses, leader):
    params = jnp.array([[1.0], [2.0], [3.0]])
    moved = params + pull(jd.pull_to_leader(AXIS, 1.0), params, jnp.array(losses))
    np.testing.assert_array_equal(moved, np.full((3, 1), params[leader, 0]))


def test_parameters_that_are_not_finite_never_lead():
    params, losses = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([0.0, 1.0, 2.0])
    updates = jnp.array([[jnp.nan], [0.0], [0.0]])
    moved = params + pull(jd.pull_to_leader(AXIS, 1.0), params, losses, updates)
    np.testing.assert_array_equal(moved[1:], [[2.0], [2.0]])


def test_without_any_leader_nobody_is_pulled():
    params, losses = jnp.array([[1.0], [2.0]]), jnp.array([jnp.nan, jnp.inf])
    np.testing.assert_array_equal(
        pull(jd.pull_to_leader(AXIS, 0.5), params, losses), jnp.zeros((2, 1))
    )


def test_period_pulls_at_its_end():
    tx = jd.pull_to_leader(harness.AXIS, 1.0, period=3)
    params = jnp.arange(8.0)
    updates = jnp.zeros((6, 8))
    losses = jnp.broadcast_to(jnp.arange(8.0), (6, 8))
    out, _ = harness.run_steps(tx, "shard_map", params, updates, {"value": losses})
    pulled = np.zeros((8, 6))
    pulled[:, [2, 5]] = -np.arange(8.0)[:, None]
    np.testing.assert_array_equal(out, pulled)


def test_the_leaders_bits_arrive():
    params = jax.random.normal(jax.random.key(0), (8, 100)).astype(jnp.bfloat16)
    tx = jd.pull_to_leader(harness.AXIS, 1.0)
    out, _ = harness.run_steps(
        tx,
        "shard_map",
        params,
        jnp.zeros((1, 8, 100), jnp.bfloat16),
        {"value": jnp.arange(8.0)[None]},
    )
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out[0, 0].astype(jnp.float32), jnp.zeros(100))


def test_missing_arguments_say_what_to_call():
    tx = jd.pull_to_leader(AXIS, 0.1)
    params = jnp.zeros((2, 3))

    def mapped(**arguments):
        def step(row):
            return tx.update(row, tx.init(row), **arguments)[0]

        return jax.jit(jax.vmap(step, axis_name=AXIS))(params)

    with pytest.raises(ValueError, match="needs `params`"):
        mapped(value=1.0)
    with pytest.raises(ValueError, match="scalar `value`.*Got nothing"):
        mapped(params=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"scalar `value`.*Got shape \(2,\)"):
        mapped(params=jnp.zeros(3), value=jnp.zeros(2))


def test_replicated_parameters_have_nobody_to_follow():
    tx = jd.pull_to_leader(harness.AXIS, 0.1)

    def worker(row):
        params = jnp.zeros(3)
        return tx.update(row, tx.init(params), params, value=row.sum())[0]

    with pytest.raises(ValueError, match="same on all workers.*per_worker_params"):
        harness.run(worker, "shard_map", jnp.ones((8, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), r"`strength` must lie in \[0.0, 1.0\], got 1.5"),
        ((0.1, 0), "`period` must be an integer >= 1, got 0"),
    ],
)
def test_arguments_have_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.pull_to_leader(AXIS, *arguments)


def test_who_is_absent_never_leads():
    tx = jd.pull_to_leader(AXIS, 1.0)

    def worker(params, loss, weight):
        updates = jnp.zeros_like(params)
        return tx.update(updates, tx.init(params), params, value=loss, weight=weight)[0]

    params, losses = jnp.asarray([[0.0], [4.0], [9.0]]), jnp.asarray([1.0, 2.0, 3.0])
    pulls = jax.jit(jax.vmap(worker, axis_name=AXIS))(
        params, losses, jnp.asarray([0.0, 1, 1])
    )
    np.testing.assert_array_equal(params + pulls, [[4.0]] * 3)


class Oracle:
    """LSGD in NumPy: workers ``[W, d]`` in groups, each of which has a leader."""

    def __init__(self, start, groups, strength, period, average=1, stored=0.0):
        """All start with the mean of their group as its leader."""
        self.groups, self.strength, self.period = groups, strength, period
        self.average, self.share = average, stored / period
        self.losses, self.leaders = [[] for _ in start], set()
        self.stored = np.array([start[group].mean(axis=0) for group in groups])

    def pull(self, workers, losses, count):
        """Return the workers after their steps and this pull."""
        workers = workers.copy()
        for worker, loss in enumerate(losses):
            self.losses[worker] = [*self.losses[worker], loss][-self.average :]
        means = np.array([np.mean(last) for last in self.losses])
        for i, group in enumerate(self.groups):
            workers[group] += self.share * (self.stored[i] - workers[group])
            if count % self.period == 0:
                leader = workers[group[np.argmin(means[group])]].copy()
                workers[group] -= self.strength * (workers[group] - leader)
                self.stored[i] = leader
                self.leaders.add(int(group[np.argmin(means[group])]))
        return workers


# Of mini-batches, so that the leaders change.
NOISE = 5 * np.random.default_rng(1).standard_normal((12, 6))


def noisy_quadratic(workers, noise):
    """Return losses and gradients of workers with targets of their own."""
    targets = np.linspace(-1, 1, len(workers))[:, None]
    return ((workers - targets) ** 2).sum(axis=1) + noise, 2 * (workers - targets)


def trained(tx, start, rate, names):
    """Return workers ``[W, d]`` after steps on the losses above."""

    def worker(own, target, noise):
        def step(carry, noise):
            own, state = carry
            loss = jnp.sum((own - target) ** 2) + noise
            updates = -rate * 2 * (own - target)
            updates, state = tx.update(updates, state, own, value=loss)
            return (own + updates, state), None

        return jax.lax.scan(step, (own, tx.init(own)), noise)[0][0]

    shape = [size for size, _ in names]
    for _, name in reversed(names):
        worker = jax.vmap(worker, axis_name=name)
    arguments = [start, np.linspace(-1, 1, len(start)), NOISE.T]
    arguments = [jnp.asarray(leaf, jnp.float32) for leaf in arguments]
    arguments = [leaf.reshape(*shape, *leaf.shape[1:]) for leaf in arguments]
    return jax.jit(worker)(*arguments).reshape(start.shape)


START = np.random.default_rng(0).standard_normal((6, 4))


@pytest.mark.parametrize(
    "memory",
    [{}, {"loss_average": 3}, {"stored_strength": 0.2}, {"num_workers": 6}],
    ids=str,
)
@pytest.mark.parametrize("period", [1, 3])
def test_memories_of_losses_and_leaders(memory, period):
    tx = jd.pull_to_leader(AXIS, 0.3, period, **memory)
    found = trained(tx, START, 0.05, [(6, AXIS)])
    oracle = Oracle(
        START,
        [np.arange(6)],
        0.3,
        period,
        memory.get("loss_average", 1),
        memory.get("stored_strength", 0.0),
    )
    workers = START
    for count, noise in enumerate(NOISE, 1):
        losses, gradients = noisy_quadratic(workers, noise)
        workers = oracle.pull(workers - 0.05 * gradients, losses, count)
    assert len(oracle.leaders) > 1
    np.testing.assert_allclose(found, workers, atol=1e-5)


@pytest.mark.parametrize(
    ("average", "stored"), [(1, 0.0), (2, 0.1)], ids=["plain", "as the authors' code"]
)
def test_leaders_of_nodes_and_the_leader_of_all(average, stored):
    """Two in a chain: three workers in each of two nodes, then all six."""
    options = {"loss_average": average, "stored_strength": stored}
    tx = optax.chain(
        jd.pull_to_leader("worker", 0.2, 2, **options),
        jd.pull_to_leader(("node", "worker"), 0.4, 4, **options),
    )
    found = trained(tx, START, 0.05, [(2, "node"), (3, "worker")])
    groups = [np.arange(3), np.arange(3, 6)]
    local = Oracle(START, groups, 0.2, 2, average, stored)
    everybody = Oracle(START, [np.arange(6)], 0.4, 4, average, stored)
    workers = START
    for count, noise in enumerate(NOISE, 1):
        losses, gradients = noisy_quadratic(workers, noise)
        workers = local.pull(workers - 0.05 * gradients, losses, count)
        workers = everybody.pull(workers, losses, count)
    assert len(local.leaders) > 2 and len(everybody.leaders) > 1
    np.testing.assert_allclose(found, workers, atol=1e-6)


def test_the_stored_leader_is_equal_on_all_workers():
    tx = jd.pull_to_leader(
        harness.AXIS, 0.5, 2, stored_strength=0.4, loss_average=2, num_workers=8
    )
    params = jax.random.normal(jax.random.key(0), (8, 5))
    losses = jax.random.normal(jax.random.key(1), (3, 8))
    for backend in harness.BACKENDS:
        _, state = harness.run_steps(
            tx, backend, params, jnp.zeros((3, 8, 5)), {"value": losses}
        )
        assert np.ptp(state.stored, axis=0).max() == 0
        means = (losses[0] + losses[1]) / 2  # of the pull in the second step
        np.testing.assert_allclose(state.reports[0], means, rtol=1e-6)
        leader = jnp.argmin(means)
        mean = params.mean(axis=0)
        expected = params[leader] + 0.2 * (mean - params[leader])
        np.testing.assert_allclose(state.stored[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stored", [0.0, 0.2])
@pytest.mark.parametrize("num_meet", [1, 2])
def test_in_simulated_time_the_leader_may_be_elsewhere(num_meet, stored):
    tx = jd.pull_to_leader(
        AXIS, 0.3, 2, loss_average=2, stored_strength=stored, num_workers=5
    )
    rng = np.random.default_rng(3)
    params = jnp.asarray(rng.standard_normal((5, 3)), jnp.float32)
    state = timeline.start(tx, params)
    workers, last = np.asarray(params, float), np.asarray(params).mean(axis=0)
    seen, reports = [[] for _ in range(5)], np.full(5, np.inf)
    led_from_elsewhere = 0
    for who, counts in timeline.rounds(2, 5, num_meet, steps=16):
        steps = rng.standard_normal((num_meet, 3)).astype(np.float32)
        losses = rng.standard_normal(num_meet).astype(np.float32)
        params, state = timeline.arrive(
            tx, params, state, who, counts, jnp.asarray(steps), losses
        )
        for worker, loss in zip(who, losses, strict=True):
            seen[worker] = [*seen[worker], loss][-2:]
            reports[worker] = np.mean(seen[worker])
        workers[who] += steps
        workers[who] += stored / 2 * (last - workers[who])
        leader = np.argmin(reports)
        led_from_elsewhere += leader not in who
        target, due = workers[leader].copy(), counts % 2 == 0
        workers[who] += 0.3 * due[:, None] * (target - workers[who])
        last = target if due.any() else last
    assert led_from_elsewhere > 3
    np.testing.assert_allclose(params, workers, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.reports, reports, rtol=1e-6)
    if stored:
        np.testing.assert_allclose(state.stored, last, rtol=1e-5, atol=1e-5)


def test_where_everybody_meets_simulated_time_is_lock_step():
    tx = jd.pull_to_leader(AXIS, 0.3, 2, loss_average=2, num_workers=4)
    params = jax.random.normal(jax.random.key(0), (4, 3))
    losses = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    own, state = params, timeline.start(tx, params)
    for count in range(5):
        own, state = timeline.arrive(
            tx, own, state, range(4), [count + 1] * 4, jnp.ones((4, 3)), losses[count]
        )

    def worker(own, losses):
        state = tx.init(own)
        for loss in losses:
            updates, state = tx.update(jnp.ones(3), state, own, value=loss)
            own = own + updates
        return own

    expected = jax.jit(jax.vmap(worker, axis_name=AXIS))(params, jnp.asarray(losses.T))
    np.testing.assert_allclose(own, expected, rtol=1e-6)


def test_what_simulated_time_needs():
    params = jnp.ones((4, 3))

    def met(tx, all_params=params, num_workers=4):
        def worker(index, own):
            arrival = _arrival.Arrival(index, index + 1, num_workers, all_params)
            state = tx.init(own)
            return tx.update(own, state, own, value=1.0, arrival=arrival)[0]

        return jax.jit(jax.vmap(worker, axis_name=AXIS))(jnp.array([1, 3]), params[:2])

    with pytest.raises(ValueError, match="`num_workers`.*num_workers=4, got None"):
        met(jd.pull_to_leader(AXIS, 0.1))
    with pytest.raises(ValueError, match="`num_workers`.*there are, 4, got 7"):
        met(jd.pull_to_leader(AXIS, 0.1, num_workers=7))
    with pytest.raises(ValueError, match="same on all.*per_worker_params=True"):
        met(jd.pull_to_leader(AXIS, 0.1, num_workers=4), None)


def test_nobody_follows_who_is_not_finite_even_when_nobody_leads():
    params = jnp.array([[jnp.nan], [2.0]])
    losses = jnp.array([jnp.nan, jnp.nan])
    moved = pull(jd.pull_to_leader(AXIS, 0.5), params, losses)
    np.testing.assert_array_equal(moved[1], [0.0])


def descent_and_pull(rate, pull_rate):
    """Return the step of the paper's theory, which pulls from where workers stand.

    x - rate (gradient + pull_rate (x - leader)): the pull of no update, and the update.
    """
    tx = jd.pull_to_leader(AXIS, rate * pull_rate)

    def step(x, state, gradient, loss):
        away, state = tx.update(jax.tree.map(jnp.zeros_like, x), state, x, value=loss)
        return x - rate * gradient + away, state

    return tx.init, step


@pytest.mark.parametrize("pull_rate", [0.5, 2.0])
def test_one_step_is_better_by_what_the_leader_is_better(pull_rate):
    """E f(x') - f* <= (1 - m eta)(f - f*) - eta lambda (f - f_leader) + eta^2 M s^2/2.

    On f = (x_1^2 + 4 x_2^2) / 2 with m = 1, M = 4, for small eta.
    """
    rate, scales = 0.005, jnp.array([1.0, 4.0])
    init, step = descent_and_pull(rate, pull_rate)
    start = jnp.array([[0.1, -0.2], [2.0, 1.0], [-1.0, 3.0]])
    values = jnp.sum(scales[None] * start**2, axis=1) / 2

    def worker(x, value, noise):
        return step(x, init(x), scales * x + noise, value)[0]

    noise = jax.random.normal(jax.random.key(0), (4000, 3, 2))
    workers = jax.jit(jax.vmap(worker, axis_name=AXIS))
    ends = jax.jit(jax.vmap(lambda noise: workers(start, values, noise)))(noise)
    found = jnp.sum(scales[None, None] * ends**2, axis=2).mean(axis=0) / 2
    bound = (1 - rate) * values - rate * pull_rate * (values - values[0])
    bound += rate**2 * 4 / 2 * 2  # the noise has a variance of 1 in each coordinate
    assert (found <= bound + 1e-3).all()
    assert (found[1:] < values[1:]).all()


@pytest.mark.parametrize(
    ("pull_rate", "value"), [(0.0, 0.0127), (0.5, 0.0088), (2.0, 0.0046)]
)
def test_noise_of_leaders_is_less(pull_rate, value):
    """Eight workers on x^2 / 2 with noise: 0.0128 alone, at most 0.025 by the bound."""
    init, step = descent_and_pull(0.05, pull_rate)

    def worker(x, key):
        def one(carry, key):
            x, state = carry
            x, state = step(x, state, x + jax.random.normal(key), x**2 / 2)
            return (x, state), x**2 / 2

        keys = jax.random.split(key, 20_000)
        return jax.lax.scan(one, (x, init(x)), keys)[1][1000:].mean()

    keys = jax.random.split(jax.random.key(0), 8)
    found = jax.jit(jax.vmap(worker, axis_name=AXIS))(jnp.zeros(8), keys).mean()
    assert float(found) == pytest.approx(value, rel=0.08)


def test_leaders_complete_matrices_where_centres_stall():
    """On |X X' - U U'|^2 / 4 no worker that is held between others gets to the end."""

    def least_loss(tx, key):
        def start(key):
            return jax.random.normal(key, (100, 2), jnp.float64)

        truth = start(jax.random.fold_in(key, 99))

        def loss(x):
            return jnp.sum((x @ x.T - truth @ truth.T) ** 2) / 4

        def worker(x):
            def one(carry, _):
                x, state = carry
                value, gradient = jax.value_and_grad(loss)(x)
                away, state = tx.update(jnp.zeros_like(x), state, x, value=value)
                return (x - 5e-3 * gradient + away, state), None

            (x, _), _ = jax.lax.scan(one, (x, tx.init(x)), length=60)
            return loss(x)

        starts = jax.jit(jax.vmap(start))(jax.random.split(key, 8))
        return jnp.min(jax.jit(jax.vmap(worker, axis_name=AXIS))(starts))

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 5)
        leader = jd.pull_to_leader(AXIS, 5e-3 * 0.2)
        center = jd.pull_to_center(AXIS, 5e-3 * 0.2, center="new")
        led, held = (
            np.median(jax.jit(jax.vmap(lambda key, tx=tx: least_loss(tx, key)))(keys))
            for tx in (leader, center)
        )
    assert led < 1e-15 and 2e-3 < held < 0.2


@pytest.mark.parametrize("average", [1, 2])
def test_leaders_of_nodes_on_a_mesh(average):
    """The recipes train them, and refuse to remember one leader for all nodes."""

    def loss(params, batch):
        return jnp.mean((params - batch) ** 2)

    def start(stored):
        options = {"loss_average": average, "stored_strength": stored}
        tx = optax.chain(
            optax.sgd(0.1),
            jd.pull_to_leader("worker", 0.2, **options),
            jd.pull_to_leader(("node", "worker"), 1.0, 2, **options),
        )
        mesh = jax.make_mesh((2, 4), ("node", "worker"))
        return jd.data_parallel(
            loss, tx, mesh, ("node", "worker"), per_worker_params=True
        )

    init, step = start(0.0)
    state, batch = init(jnp.zeros(())), np.arange(8, dtype=np.float32)
    for spread in (1.0, 0.0):
        state, _ = step(state, batch)
        assert (np.ptp(state.params) > 1e-5) == (spread > 0)
    init, step = start(0.1)
    with pytest.raises(ValueError, match=r"`params` differ over \['node'\]"):
        step(init(jnp.zeros(())), batch)


def test_most_leaders_turn_a_gradient_towards_newton():
    """Quadratics: of all points that are no worse, at least half help the direction."""
    rng = np.random.default_rng(0)
    curvature = jnp.array([1.0, 4.0, 25.0])
    tx = jd.pull_to_leader("w", 0.01)

    def pulled(point, leader):
        """Return where a gradient step from the point goes with this leader."""
        rows = jnp.stack([point, leader])
        updates = jnp.stack([-curvature * point, jnp.zeros(3)])
        losses = jnp.array([1.0, 0.0])

        def worker(params, update, loss):
            return tx.update(update, tx.init(params), params, value=loss)[0]

        return jax.jit(jax.vmap(worker, axis_name="w"))(rows, updates, losses)[0]

    def cosine(direction, point):
        newton = -point
        return (direction @ newton) / (
            jnp.linalg.norm(direction, axis=-1) * jnp.linalg.norm(newton)
        )

    for _ in range(5):
        point = jnp.asarray(rng.standard_normal(3), jnp.float32)
        size = jnp.sqrt(jnp.sum(curvature * point**2))
        ball = rng.standard_normal((4000, 3))
        ball *= (rng.uniform(size=4000) ** (1 / 3) / np.linalg.norm(ball, axis=1))[
            :, None
        ]
        inside = jnp.asarray(ball, jnp.float32) * size / jnp.sqrt(curvature)[None]
        directions = jax.jit(jax.vmap(pulled, (None, 0)))(point, inside)
        alone = cosine(-curvature * point, point)
        share = jnp.mean(cosine(directions, point) > alone)
        assert share >= 0.5
