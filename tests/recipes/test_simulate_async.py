"""Training in simulated time: a heap of events, compositions, restarts, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import timing
from tests import harness
from tests.timing import cases

AXIS = "worker"
RATE = 0.05
DIMENSION = 3


def _loss(params, batch):
    inputs, targets = batch
    return jnp.mean((inputs @ params - targets) ** 2) / 2


def _gradient(params, inputs, targets):
    return inputs.T @ (inputs @ params - targets) / len(targets)


def _batches(num_workers, most, num_updates, seed=0):
    """Return other examples for every update, visit and worker: 2 for each."""
    rng = np.random.default_rng(seed)
    shape = (num_updates, max(most, 1), num_workers * 2)
    inputs = rng.standard_normal((*shape, DIMENSION)).astype(np.float32)
    targets = np.sum(inputs, axis=-1) + rng.standard_normal(shape).astype(np.float32)
    return inputs, targets


def _oracle(name, number, times, inputs, targets):
    """Return what the heap finds, in float64."""
    done = iter(range(cases.NUM_UPDATES))

    def apply(params, pushes):
        update = next(done)
        gradients = []
        for push in pushes:
            mine = slice(2 * push.worker, 2 * push.worker + 2)
            place = update, push.visit, mine
            gradients.append(_gradient(push.snapshot, inputs[place], targets[place]))
        return params - RATE * np.mean(gradients, axis=0)

    return cases.oracle_updates(name, number, times, np.zeros(DIMENSION), apply)


@cases.every_case
def test_agrees_with_a_heap_of_events(name, number, num_workers):
    times = cases.recorded_times(num_workers)
    protocol = cases.protocol_of(name, number)
    most = protocol.most_visits(num_workers)
    inputs, targets = _batches(num_workers, most, cases.NUM_UPDATES)
    wanted = _oracle(name, number, times, inputs, targets)
    init, step = jd.simulate_async(
        _loss,
        optax.chain(jd.aggregate(AXIS), optax.sgd(RATE)),
        num_workers,
        AXIS,
        protocol=protocol,
        compute_time=timing.trace(times),
    )
    state = init(jnp.zeros(DIMENSION))
    for update, (x, y) in zip(wanted, zip(inputs, targets, strict=True), strict=True):
        state, metrics = step(state, (x, y) if most else (x[0], y[0]))
        np.testing.assert_allclose(metrics["time"], update.time, rtol=1e-6)
        workers = [push.worker for push in update.pushes]
        np.testing.assert_array_equal(metrics["worker"], workers)
        np.testing.assert_allclose(state.params, update.params, atol=1e-6)


def _task(num_workers=8, examples=32, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((num_workers * examples, 20)).astype(np.float32)
    planted = rng.standard_normal((20, 6)).astype(np.float32)
    return (inputs, inputs @ planted), jnp.zeros((20, 6))


def _recipe(tx, protocol, num_workers=8, **options):
    law = options.pop("compute_time", timing.exponential(1.0))
    return jd.simulate_async(
        *(_loss, tx, num_workers, AXIS), protocol=protocol, compute_time=law, **options
    )


def _train(tx, protocol, num_updates, num_workers=8, **options):
    batch, params = _task(num_workers)
    init, step = _recipe(tx, protocol, num_workers, **options)
    state = init(params)
    for _ in range(num_updates):
        state, _ = step(state, batch)
    return state


FEEDBACK = jd.compression.error_feedback
# Rule, compressor, and how strongly the attacker flips signs: a mean bears little.
COMPOSED = {
    "sign with feedback": (
        jd.rules.mean(),
        FEEDBACK(jd.compression.scaled_sign()),
        1.0,
    ),
    "top-k with feedback": (
        jd.rules.mean(),
        FEEDBACK(jd.compression.top_k(0.2)),
        1.0,
    ),
    "power_sgd": (
        jd.rules.mean(),
        FEEDBACK(jd.compression.power_sgd(2)),
        1.0,
    ),
    "trimmed mean of signs": (
        jd.rules.trimmed_mean(1),
        FEEDBACK(jd.compression.scaled_sign()),
        5.0,
    ),
    "krum": (jd.rules.krum(1), None, 5.0),
}


@pytest.mark.parametrize("composition", COMPOSED)
def test_everything_composes_with_an_attacker(composition):
    rule, compressor, scale = COMPOSED[composition]
    tx = optax.chain(
        jd.inject_attack(AXIS, jd.attacks.sign_flip(scale), 1),
        jd.aggregate(AXIS, rule, compressor),
        optax.sgd(0.1),
    )
    batch, params = _task()
    state = _train(tx, timing.k_async(5), 300)
    assert _loss(state.params, batch) < 0.06 * _loss(params, batch)


def test_a_residual_goes_where_its_worker_goes():
    """Error feedback in float64, one residual for each worker, on recorded times."""
    num_workers, number = 7, 3
    times = cases.recorded_times(num_workers)
    residuals = np.zeros((num_workers, 6))
    rng = np.random.default_rng(2)
    targets = rng.standard_normal((num_workers, 6)).astype(np.float32)

    def apply(params, pushes):
        sent = []
        for push in pushes:
            wanted = residuals[push.worker] + push.snapshot - targets[push.worker]
            chosen = np.argsort(-np.abs(wanted), kind="stable")[:2]
            message = np.zeros(6)
            message[chosen] = wanted[chosen]
            residuals[push.worker] = wanted - message
            sent.append(message)
        return params - RATE * np.mean(sent, axis=0)

    wanted = cases.oracle_updates("k_async", number, times, np.zeros(6), apply)
    init, step = jd.simulate_async(
        lambda params, target: jnp.sum((params - target[0]) ** 2) / 2,
        optax.chain(
            jd.aggregate(AXIS, compressor=FEEDBACK(jd.compression.top_k(1 / 3))),
            optax.sgd(RATE),
        ),
        num_workers,
        AXIS,
        protocol=timing.k_async(number),
        compute_time=timing.trace(times),
    )
    state = init(jnp.zeros(6))
    for update in wanted:
        state, _ = step(state, targets)
        np.testing.assert_allclose(state.params, update.params, atol=2e-6)
    np.testing.assert_allclose(
        state.opt_state[0].uplink.inner_state.residual, residuals, atol=2e-6
    )


@pytest.mark.parametrize("route", ["psum", "gather", "scatter"])
def test_waiting_for_all_is_the_lock_step_simulation(route):
    compressor = None if route == "psum" else FEEDBACK(jd.compression.top_k(0.2))
    tx = optax.chain(
        jd.aggregate(AXIS, compressor=compressor, route=route),
        optax.sgd(0.1, momentum=0.9),
    )
    batch, params = _task()
    init, step = jd.simulate(_loss, tx, 8, AXIS)
    state = init(params)
    for _ in range(10):
        state, _ = step(state, batch)
    for protocol in (timing.k_sync(8), timing.k_async(8)):
        found = _train(tx, protocol, 10)
        harness.assert_trees_close(found.params, state.params, atol=1e-6)
        harness.assert_trees_close(found.opt_state, state.opt_state, atol=1e-6)


def _contracted():
    return FEEDBACK(jd.compression.contractive(jd.compression.qsgd(4)))


def _noise():
    """Return noise of each worker's own; optax mixes dtypes in it."""
    tx = jd.per_worker(AXIS, optax.add_noise(0.1, 0.55, 3))

    def update(*args, **extra):
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(*args, **extra)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def _rich_optimizer():
    return optax.chain(
        _noise(),
        jd.aggregate(AXIS, compressor=_contracted()),
        optax.sgd(0.1, momentum=0.9),
    )


def test_a_restart_in_the_middle_changes_no_bit():
    batch, params = _task()
    init, step = _recipe(_rich_optimizer(), timing.k_async(3))
    state = init(params)
    for _ in range(7):
        state, _ = step(state, batch)
    saved = jax.tree.map(jnp.copy, state)
    for _ in range(7):
        state, _ = step(state, batch)
    init, step = _recipe(_rich_optimizer(), timing.k_async(3))
    for _ in range(7):
        saved, _ = step(saved, batch)
    harness.assert_trees_equal(saved, state)


def test_copies_on_many_devices_change_no_bit():
    batch, params = _task()
    tx = optax.chain(jd.aggregate(AXIS, jd.rules.median()), optax.sgd(0.02))
    init, step = _recipe(tx, timing.k_async(3))
    alone, spread = init(params), init(params)
    sharding = jax.sharding.NamedSharding(
        harness.make_mesh(), jax.sharding.PartitionSpec(harness.AXIS)
    )
    common = jax.sharding.NamedSharding(
        harness.make_mesh(), jax.sharding.PartitionSpec()
    )
    copies = jax.device_put(spread.copies, sharding)
    spread = jax.device_put(spread._replace(copies=()), common)
    spread = spread._replace(copies=copies)
    for _ in range(10):
        alone, _ = step(alone, batch)
        spread, _ = step(spread, batch)
    assert len(jax.tree.leaves(spread.copies)[0].sharding.device_set) == 8
    harness.assert_trees_equal(
        jax.tree.map(np.asarray, spread), jax.tree.map(np.asarray, alone)
    )


def test_a_thousand_workers():
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((1000, 5)).astype(np.float32)
    tx = optax.chain(
        jd.aggregate(AXIS, compressor=FEEDBACK(jd.compression.scaled_sign())),
        optax.sgd(0.02),
    )
    init, step = jd.simulate_async(
        lambda params, batch: jnp.mean((params - batch[0]) ** 2),
        *(tx, 1000, AXIS),
        protocol=timing.k_async(50),
        compute_time=timing.pareto(2.0, 1.0),
    )
    state = init(jnp.full(5, 3.0))
    for _ in range(400):
        state, _ = step(state, targets)
    assert state.clock.remaining.shape == (1000,)
    np.testing.assert_allclose(state.params, targets.mean(axis=0), atol=0.2)


def test_the_optimizer_gets_what_it_may_ask_for():
    """Age, what the gradient was computed on, and whose it is."""
    seen = []

    def update(updates, state, params=None, **extra):
        del params
        seen.append(sorted(extra))
        arrival = extra["arrival"]
        assert arrival.num_workers == 5
        row = jnp.stack([extra["staleness"], arrival.worker, arrival.count])
        index = jax.lax.axis_index(AXIS)
        mapped = jax.lax.psum(jnp.zeros((2, 3), jnp.int32).at[index].set(row), AXIS)
        return updates, {"row": mapped, "stale": extra["stale_params"] + 0 * updates}

    def init(params):
        rows = jnp.zeros((2, 3), jnp.int32)
        return {"row": rows, "stale": jd.PerWorkerState(params[None])}

    def wrapped(updates, state, params=None, **extra):
        updates, state = update(updates, state, params, **extra)
        return updates, state | {"stale": jd.PerWorkerState(state["stale"][None])}

    spy = optax.GradientTransformationExtraArgs(init, wrapped)
    tx = optax.chain(spy, jd.aggregate(AXIS), optax.sgd(0.1))
    start, step = _recipe(tx, timing.k_async(2), 5)
    batch, params = _task(5)
    state = start(params)
    counts = np.zeros(5, int)
    for _ in range(12):
        copies = np.asarray(state.copies)
        state, metrics = step(state, batch)
        workers = np.asarray(metrics["worker"])
        counts[workers] += 1
        rows = np.stack([metrics["staleness"], workers, counts[workers]], axis=1)
        np.testing.assert_array_equal(state.opt_state[0]["row"], rows)
        np.testing.assert_array_equal(
            state.opt_state[0]["stale"].inner_state[workers], copies[workers]
        )
    assert seen[-1] == ["arrival", "stale_params", "staleness", "value"]


def test_metrics_of_the_loss_are_means_of_those_who_came():
    def loss(params, batch):
        return jnp.mean(params * batch), {"seen": jnp.mean(batch)}

    init, step = jd.simulate_async(
        *(loss, optax.chain(jd.aggregate(AXIS), optax.sgd(0.0)), 4, AXIS),
        protocol=timing.k_sync(2),
        compute_time=timing.trace([[1.0], [2.0], [9.0], [1.5]]),
        has_aux=True,
    )
    batch = jnp.array([1.0, 10.0, 100.0, 1000.0])
    _, metrics = step(init(jnp.ones(())), batch)
    np.testing.assert_array_equal(metrics["worker"], [0, 3])
    np.testing.assert_allclose(metrics["seen"], 500.5)


def test_names_of_the_metrics_of_time_are_taken():
    init, step = jd.simulate_async(
        lambda params, batch: (jnp.mean(params * batch), {"time": jnp.zeros(())}),
        *(optax.chain(jd.aggregate(AXIS), optax.sgd(0.0)), 2, AXIS),
        protocol=timing.k_sync(2),
        compute_time=timing.constant(1.0),
        has_aux=True,
    )
    with pytest.raises(ValueError, match=r"must not return metrics called \['time'\]"):
        step(init(jnp.ones(())), jnp.ones(2))


def test_examples_of_every_visit_are_asked_for():
    tx = optax.chain(jd.aggregate(AXIS), optax.sgd(0.1))
    init, step = _recipe(tx, timing.k_batch_async(3))
    batch, params = _task()
    with pytest.raises(ValueError, match=r"`batch` must be \[3, 8 \* b, ...\]"):
        step(init(params), batch)


def test_a_batch_must_have_a_part_for_each_worker():
    tx = optax.chain(jd.aggregate(AXIS), optax.sgd(0.1))
    init, step = _recipe(tx, timing.k_async(3))
    batch, params = _task(7, examples=1)
    with pytest.raises(ValueError, match="a leading axis that 8 workers divide"):
        step(init(params), batch)


@pytest.mark.parametrize(
    ("tx", "protocol", "options", "match"),
    [
        (
            jd.aggregate(AXIS, compressor=FEEDBACK(jd.compression.top_k(0.1))),
            timing.k_batch_async(2),
            {},
            r"`tx` keeps something for each worker.*k_batch_async\(2\).*Use jaxdist",
        ),
        (
            jd.per_worker(AXIS, optax.trace(0.9)),
            timing.adasync(timing.k_batch_sync, 1, 5.0),
            {},
            "gives every worker other updates|keeps something for each worker",
        ),
        (optax.sgd(0.1), timing.k_async(2), {}, "`tx` gives every worker other"),
        (
            jd.aggregate(AXIS, jd.rules.centered_clipping(1.0), route="scatter"),
            timing.adasync(timing.k_async, 1, 5.0),
            {},
            'changes K. Use aggregate.*route="gather"',
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_update(
    tx, protocol, options, match
):
    init, _ = _recipe(optax.chain(tx, optax.sgd(0.1)), protocol, **options)
    with pytest.raises(ValueError, match=match):
        init(_task()[1])


def test_own_parameters_ask_for_one_mini_batch_of_each():
    with pytest.raises(ValueError, match="`protocol` must let each worker bring one"):
        _recipe(optax.sgd(0.1), timing.k_batch_async(2), per_worker_params=True)


def test_workers_with_parameters_of_their_own_step_alone():
    """Without any pull: who arrives steps, from its own parameters, and nobody else."""
    times = cases.recorded_times(4)
    init, step = _recipe(
        optax.sgd(0.1),
        timing.k_async(1),
        4,
        compute_time=timing.trace(times),
        per_worker_params=True,
    )
    batch, params = _task(4)
    state = init(params)
    wanted = np.zeros((4, *params.shape))
    inputs, targets = (np.asarray(x).reshape(4, 32, -1) for x in batch)
    for _ in range(30):
        state, metrics = step(state, batch)
        (worker,) = np.asarray(metrics["worker"])
        error = inputs[worker] @ wanted[worker] - targets[worker]
        wanted[worker] -= 0.1 * inputs[worker].T @ error / error.size
        np.testing.assert_allclose(state.params, wanted, atol=1e-5)


def test_adasync_waits_for_more_as_the_loss_falls():
    batch, params = _task()
    tx = optax.chain(jd.aggregate(AXIS, route="gather"), optax.sgd(0.05))
    init, step = _recipe(tx, timing.adasync(timing.k_async, 1, 5.0))
    state = init(params)
    numbers, losses = [], []
    while state.clock.time < 90.0:
        state, metrics = step(state, batch)
        numbers.append(metrics["worker"].size)
        losses.append(float(metrics["loss"]))
    assert numbers[0] == 1
    assert numbers[-1] >= 5
    assert losses[-1] < 0.05 * losses[0]
    assert np.all(np.diff(numbers) >= 0)


AVERAGE = optax.chain(jd.aggregate(AXIS), optax.sgd(1.0))
INNER = optax.sgd(0.1, momentum=0.9)


def _rounds(num_updates, num_workers, number=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num_updates, number, num_workers * 4)
    inputs = rng.standard_normal((*shape, 20)).astype(np.float32)
    return inputs, np.stack([inputs.sum(axis=-1)] * 6, axis=-1)


def test_rounds_of_everybody_are_those_in_lock_step():
    batches = _rounds(4, 8)
    options = {"outer": AVERAGE, "correct_drift": True}
    init, step = jd.simulate(_loss, INNER, 8, AXIS, **options)
    start, async_step = _recipe(INNER, timing.k_sync(8), **options)
    state, other = init(_task()[1]), start(_task()[1])
    for batch in zip(*batches, strict=True):
        state, _ = step(state, batch)
        other, _ = async_step(other, batch)
    harness.assert_trees_close(other.params, state.params, atol=1e-6)
    harness.assert_trees_close(other.opt_state, state.opt_state, atol=1e-6)


@pytest.mark.parametrize("protocol", [timing.k_sync(3), timing.k_async(3)])
def test_rounds_of_sampled_clients(protocol):
    """Each client's own inner state and correction, and stale starts, in NumPy."""
    num_workers, number, rate = 6, 3, 0.05
    times = cases.recorded_times(num_workers)
    targets = np.random.default_rng(1).standard_normal((num_workers, 4))
    targets = targets.astype(np.float32)
    traces = np.zeros((num_workers, 4))
    own, common = np.zeros((num_workers, 4)), np.zeros(4)

    def apply(params, pushes):
        displacements, change = [], np.zeros(4)
        for push in pushes:
            worker, y, grads = push.worker, push.snapshot.copy(), []
            for _ in range(number):
                grads.append(y - targets[worker])
                corrected = grads[-1] + common - own[worker]
                traces[worker] = corrected + 0.9 * traces[worker]
                y -= rate * traces[worker]
            displacements.append(push.snapshot - y)
            change += np.mean(grads, axis=0) - own[worker]
            own[worker] = np.mean(grads, axis=0)
        common[:] = common + change / num_workers
        return params - np.mean(displacements, axis=0)

    name = protocol.name.split("(")[0]
    wanted = cases.oracle_updates(name, 3, times, np.zeros(4), apply)
    init, step = jd.simulate_async(
        lambda params, batch: jnp.sum((params - batch[0]) ** 2) / 2,
        *(optax.sgd(rate, momentum=0.9), num_workers, AXIS),
        protocol=protocol,
        compute_time=timing.trace(times),
        outer=AVERAGE,
        correct_drift=True,
    )
    state = init(jnp.zeros(4))
    batch = np.broadcast_to(targets, (number, *targets.shape))
    for update in wanted[:40]:
        state, _ = step(state, batch)
        np.testing.assert_allclose(state.params, update.params, atol=1e-5)


def test_a_thousand_clients_with_residuals_of_their_own():
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((1000, 5)).astype(np.float32)
    signs = FEEDBACK(jd.compression.scaled_sign())
    init, step = jd.simulate_async(
        lambda params, batch: jnp.mean((params - batch[0]) ** 2),
        *(optax.sgd(0.1), 1000, AXIS),
        protocol=timing.k_sync(32),
        compute_time=timing.exponential(),
        outer=optax.chain(jd.aggregate(AXIS, compressor=signs), optax.sgd(0.5)),
        inner_state="reset",
    )
    state = init(jnp.full(5, 3.0))
    batch = np.broadcast_to(targets, (5, *targets.shape))
    seen = set()
    for _ in range(100):
        state, metrics = step(state, batch)
        seen |= set(np.asarray(metrics["worker"]).tolist())
    assert len(seen) > 900
    np.testing.assert_allclose(state.params, targets.mean(axis=0), atol=0.25)


def test_a_server_with_a_buffer_asks_for_examples_of_every_visit():
    """Displacements in a buffer of K, whoever sends them, weighed by their age."""
    outer = optax.chain(jd.scale_by_staleness(0.5), AVERAGE)
    init, step = _recipe(
        optax.sgd(0.05),
        timing.k_batch_async(4),
        outer=outer,
        inner_state="reset",
    )
    state = init(_task()[1])
    inputs, targets = _rounds(4, 8)
    first = _loss(state.params, (inputs[0, 0], targets[0, 0]))
    for _ in range(40):
        state, metrics = step(state, (inputs, targets))
    assert metrics["worker"].shape == (4,)
    assert metrics["loss"] < 0.3 * first
    with pytest.raises(ValueError, match=r"`batch` must be \[4, H, 8 \* b, ...\]"):
        step(state, (inputs[0], targets[0]))


def test_codes_have_no_rounds():
    protocol = timing.until_decodable(jd.coding.uncoded(8, 8))
    with pytest.raises(ValueError, match="`outer` must be None with until_decodable"):
        _recipe(INNER, protocol, outer=AVERAGE)
