"""Local rounds: oracles, the same on all backends, no message on the way."""

import pathlib
import re
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import local, problem, quadratics

AXIS = harness.AXIS
AVERAGE, DILOCO, FEEDBACK = local.AVERAGE, local.DILOCO, local.FEEDBACK


def _train(recipe, rounds, tx=None, **options):
    tx = tx or optax.sgd(0.1, momentum=0.9)
    init, step = recipe(problem.loss, tx, **({"outer": AVERAGE} | options))
    state = init(problem.PARAMS)
    for index in range(rounds):
        state, metrics = step(state, local.batches(3, index))
    return state, metrics


@pytest.mark.parametrize("num_workers", [1, 4])
def test_equal_workers_that_average_are_the_inner_optimizer_alone(num_workers):
    tx = optax.sgd(0.1, momentum=0.9)
    init, step = jd.simulate(problem.loss, tx, num_workers, AXIS, outer=AVERAGE)
    state = init(problem.PARAMS)
    params, inner = problem.PARAMS, tx.init(problem.PARAMS)
    for index in range(3):
        batches = local.batches(5, index)
        state, _ = step(
            state,
            jax.tree.map(lambda x: np.concatenate([x] * num_workers, axis=1), batches),
        )
        for batch in zip(*batches, strict=True):
            gradient = jax.grad(problem.loss)(params, batch)
            updates, inner = tx.update(gradient, inner, params)
            params = optax.apply_updates(params, updates)
    harness.assert_trees_close(state.params, params, atol=1e-6)


def test_the_scalar_sequence_of_diloco():
    """For x^2 / 2, five steps of 0.1, Nesterov with 0.7 and 0.9, by recursion."""
    init, step = jd.simulate(
        lambda x, batch: 0.5 * x**2 + 0 * jnp.mean(batch),
        *(optax.sgd(0.1), 2, AXIS),
        outer=DILOCO,
    )
    state, found = init(jnp.ones(())), []
    for _ in range(8):
        state, _ = step(state, jnp.zeros((5, 2)))
        found.append(float(state.params))
    wanted = [
        *(0.4553517, -0.024847, -0.32601618, -0.42591459),
        *(-0.36795884, -0.22527277, -0.06909105, 0.0509844),
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def _quadratics():
    """Return matrices and centres of four workers with different data."""
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((4, 5, 3))
    return np.einsum("wij,wik->wjk", roots, roots) / 3, rng.standard_normal((4, 3))


RATE, LOCAL_STEPS = 0.05, 4


def _solve_quadratics(rounds, matrices, centres, **options):
    """Return where rounds of gradient descent end, in float64."""

    def loss(params, batch):
        matrix, centre = batch[0][0], batch[1][0]
        return 0.5 * (params - centre) @ matrix @ (params - centre)

    with jax.enable_x64(True):
        init, step = jd.simulate(
            *(loss, optax.sgd(RATE), 4, AXIS), outer=AVERAGE, **options
        )
        state = init(jnp.zeros(3, jnp.float64))
        batches = [
            np.broadcast_to(x, (LOCAL_STEPS, *x.shape)) for x in (matrices, centres)
        ]
        for _ in range(rounds):
            state, _ = step(state, tuple(batches))
        return np.asarray(state.params)


def test_fixed_point_of_federated_averaging():
    """Of quadratics: not their optimum, and known in closed form."""
    matrices, centres = _quadratics()
    identity = np.eye(3)
    moved = [
        identity - np.linalg.matrix_power(identity - RATE * a, LOCAL_STEPS)
        for a in matrices
    ]
    wanted = np.linalg.solve(
        sum(moved), sum(m @ c for m, c in zip(moved, centres, strict=True))
    )
    found = _solve_quadratics(400, matrices, centres)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_corrected_for_drift_they_end_at_the_optimum():
    matrices, centres = _quadratics()
    optimum = np.linalg.solve(
        sum(matrices), sum(a @ c for a, c in zip(matrices, centres, strict=True))
    )
    plain = _solve_quadratics(400, matrices, centres)
    assert np.linalg.norm(plain - optimum) > 1e-3
    found = _solve_quadratics(400, matrices, centres, correct_drift=True)
    np.testing.assert_allclose(found, optimum, atol=1e-12)


def test_drift_against_numpy():
    """Three rounds by hand; a worker that is absent keeps its correction."""
    matrices, centres = _quadratics()
    weights = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]], np.float32)
    x, own = np.zeros(3), np.zeros((4, 3))
    common = np.zeros(3)
    for weight in weights:
        ends, means = np.zeros((4, 3)), own.copy()
        for w in range(4):
            y, grads = x.copy(), []
            for _ in range(LOCAL_STEPS):
                grads.append(matrices[w] @ (y - centres[w]))
                y -= RATE * (grads[-1] + common - own[w])
            ends[w] = y
            if weight[w]:
                means[w] = np.mean(grads, axis=0)
        common = common + (means - own).mean(axis=0)
        own, x = means, weight @ ends / weight.sum()

    def loss(params, batch):
        matrix, centre = batch[0][0], batch[1][0]
        return 0.5 * (params - centre) @ matrix @ (params - centre)

    init, step = jd.simulate(
        *(loss, optax.sgd(RATE), 4, AXIS), outer=AVERAGE, correct_drift=True
    )
    state = init(jnp.zeros(3))
    batches = tuple(
        np.broadcast_to(leaf, (LOCAL_STEPS, *leaf.shape)).astype(np.float32)
        for leaf in (matrices, centres)
    )
    for weight in weights:
        state, _ = step(state, batches, weight=weight)
    np.testing.assert_allclose(state.params, x, atol=1e-5)
    np.testing.assert_allclose(state.opt_state.drift.common, common, atol=1e-5)
    np.testing.assert_allclose(state.opt_state.drift.own.inner_state, own, atol=1e-5)


@pytest.mark.parametrize("inner_state", ["carry", "reset", "average"])
@pytest.mark.parametrize("name", local.OUTERS)
def test_a_mesh_and_a_simulation_agree(name, inner_state):
    options = {"outer": local.OUTERS[name], "inner_state": inner_state}
    options["correct_drift"] = name == "average"
    simulated, seen = _train(local.simulated, 3, **options)
    meshed, metrics = _train(local.on_mesh, 3, **options)
    harness.assert_trees_close(
        jax.tree.map(np.asarray, meshed), jax.tree.map(np.asarray, simulated), atol=1e-6
    )
    np.testing.assert_allclose(metrics["loss"], seen["loss"], rtol=1e-5)
    for leaf in jax.tree.leaves(meshed.params):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert all(np.array_equal(shard, shards[0]) for shard in shards)


def test_what_becomes_of_the_inner_state():
    states = {
        name: _train(local.simulated, 1, inner_state=name)[0].opt_state.inner
        for name in ("carry", "reset", "average")
    }
    carried = states["carry"].inner_state[0].trace
    assert jax.tree.leaves(carried)[0].shape[0] == 8
    means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), carried)
    harness.assert_trees_close(states["average"][0].trace, means, atol=1e-6)
    assert states["reset"] == ()


@pytest.mark.parametrize("recipe", [local.simulated, local.on_mesh])
def test_each_worker_takes_its_own_number_of_steps(recipe):
    steps = np.array([0, 1, 2, 3, 3, 2, 1, 9], np.int32)  # at most H
    tx = optax.sgd(0.1, momentum=0.9)
    init, step = recipe(problem.loss, tx, outer=AVERAGE)
    batches = local.batches(3)
    state, metrics = step(init(problem.PARAMS), batches, steps=steps)
    ends, losses = [], []
    for worker, number in enumerate(np.minimum(steps, 3)):
        params, inner = problem.PARAMS, tx.init(problem.PARAMS)
        own = []
        for x, y in zip(*batches, strict=True):
            if len(own) == number:
                break
            part = slice(8 * worker, 8 * worker + 8)
            value, gradient = jax.value_and_grad(problem.loss)(
                params, (x[part], y[part])
            )
            updates, inner = tx.update(gradient, inner, params)
            params = optax.apply_updates(params, updates)
            own.append(value)
        ends.append(params)
        losses.extend([np.mean(own)] if own else [])
    means = jax.tree.map(lambda *leaves: sum(leaves) / 8, *ends)
    harness.assert_trees_close(state.params, means, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)


def test_who_takes_no_step_can_be_absent_too():
    init, step = local.simulated(
        problem.loss, optax.sgd(0.1, momentum=0.9), outer=AVERAGE
    )
    steps = np.array([0, 1, 2, 3, 3, 2, 1, 3], np.int32)
    weight = (steps > 0).astype(np.float32)
    state, _ = step(init(problem.PARAMS), local.batches(3, 1))
    before = jax.tree.map(np.asarray, state.opt_state.inner)
    state, metrics = step(state, local.batches(3), weight=weight, steps=steps)
    assert np.isfinite(metrics["loss"])
    after = jax.tree.map(np.asarray, state.opt_state.inner)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old[0], new[0])
        assert not np.array_equal(old[1], new[1])


def test_weights_weigh_displacements():
    init, step = local.simulated(problem.loss, optax.sgd(0.1), outer=AVERAGE)
    weight = np.array([1, 0, 0, 0, 0, 0, 0, 3], np.float32)
    state, _ = step(init(problem.PARAMS), local.batches(1), weight=weight)
    inputs, targets = local.batches(1)
    grads = [
        jax.grad(problem.loss)(problem.PARAMS, (inputs[0, part], targets[0, part]))
        for part in (slice(0, 8), slice(56, 64))
    ]
    wanted = jax.tree.map(
        lambda p, a, b: p - 0.1 * (a + 3 * b) / 4, problem.PARAMS, *grads
    )
    harness.assert_trees_close(state.params, wanted, atol=1e-6)


def _compiled_round(loss, inner, outer, params, batches, **options):
    """Return the compiled program of a round, or step, on eight devices."""
    init, step = local.on_mesh(loss, inner, outer=outer, **options)
    return step.lower(init(params), batches).compile()


def _compiled(outer):
    tx = optax.sgd(0.1, momentum=0.9) if outer else optax.chain(jd.aggregate(AXIS))
    batch = local.batches(3) if outer else problem.BATCH
    return _compiled_round(problem.loss, tx, outer, problem.PARAMS, batch).as_text()


COLLECTIVE = re.compile(r"(all-reduce|all-gather|all-to-all|collective-permute)\(")


def test_no_message_in_the_local_steps():
    text = _compiled(DILOCO)
    assert "while(" in text
    bodies = set(re.findall(r"body=%?([\w.-]+)", text))
    assert bodies
    blocks = re.split(r"\n(?=%?[\w.-]+ \(|ENTRY)", text)
    inside = [b for b in blocks if re.match(r"%?([\w.-]+)", b).group(1) in bodies]
    assert len(inside) == len(bodies)
    assert not any(COLLECTIVE.search(block) for block in inside)
    assert COLLECTIVE.search(text)


@pytest.mark.parametrize("fragments", [None, jd.fragments.strided(2)])
def test_steps_and_micro_batches_that_are_written_out(fragments):
    options = {"micro_batches": 2, "outer": DILOCO, "fragments": fragments}
    tx, batches = optax.sgd(0.1, momentum=0.9), local.batches(4)
    program = _compiled_round(
        *(problem.loss, tx, DILOCO, problem.PARAMS, batches),
        **{"micro_batches": 2, "fragments": fragments, "unroll": True},
    )
    assert "while(" not in program.as_text()
    states = []
    for unroll in (False, True):
        init, step = local.simulated(problem.loss, tx, **options, unroll=unroll)
        states.append(step(init(problem.PARAMS), batches))
    harness.assert_trees_close(states[0], states[1], atol=1e-6)


def test_a_number_of_steps_of_its_own_needs_a_loop():
    init, step = local.simulated(
        problem.loss, optax.sgd(0.1), outer=AVERAGE, unroll=True
    )
    steps = np.ones(8, np.int32)
    with pytest.raises(ValueError, match="`steps` must be None with `unroll`"):
        step(init(problem.PARAMS), local.batches(2), steps=steps)


def test_a_round_sends_what_a_step_sends():
    def messages(text):
        return sorted(re.findall(r"= (\S+) all-reduce\(", text))

    assert messages(_compiled(AVERAGE)) == messages(_compiled(None))


@pytest.mark.usefixtures("standard_promotion")
def test_memory_of_a_round_of_diloco():
    """Beside its state a device needs twice the parameters: a walk, and a message.

    The state is the parameters, two moments of AdamW, and the momentum outside.
    """
    params = jnp.zeros((1000, 1000))

    def loss(params, batch):
        return jnp.mean((params - jnp.mean(batch)) ** 2)

    inner = optax.adamw(4e-4)
    program = _compiled_round(loss, inner, DILOCO, params, jnp.ones((4, 8)))
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes <= 2.2 * params.nbytes
    assert memory.argument_size_in_bytes <= 4.01 * params.nbytes
    assert memory.alias_size_in_bytes >= 4 * params.nbytes  # all of it is donated


def test_a_correction_is_one_message_more():
    """In float32 and as large as the parameters, beside what `outer` sends."""
    params = {"w": jnp.zeros((30, 4)), "v": jnp.zeros(7)}

    def loss(params, batch):
        moved = [leaf - jnp.mean(batch) for leaf in jax.tree.leaves(params)]
        return sum(jnp.sum(leaf**2) for leaf in moved)

    def sent(**options):
        program = _compiled_round(
            loss, optax.sgd(0.1), AVERAGE, params, jnp.ones((2, 8)), **options
        )
        return harness.bytes_sent(program.as_text())

    more = sent(correct_drift=True) - sent()
    assert more == pytest.approx(2 * 7 / 8 * 4 * 127)


SPARSE_LOCO = jd.compression.error_feedback(
    jd.compression.quantized(
        jd.compression.top_k(64 / 4096, 4096), jd.compression.two_bit(64)
    ),
    decay=0.95,
)


@pytest.mark.usefixtures("standard_promotion")
def test_sparse_loco_sends_3_percent_of_a_byte_for_each_weight():
    """All that travels but the loss: 120 bytes of each worker for 4096 weights."""
    params = jnp.zeros((64, 128))
    outer = optax.chain(jd.aggregate(AXIS, compressor=SPARSE_LOCO), optax.sgd(1.0))

    def loss(params, batch):
        return jnp.mean((params - jnp.mean(batch)) ** 2)

    program = _compiled_round(
        loss, optax.adamw(1.3e-4), outer, params, jnp.ones((2, 8))
    )
    messages = harness.collectives(program.as_text())
    gathered = [nbytes for name, nbytes in messages if name == "all-gather"]
    assert gathered == [8 * 2 * 120]
    assert gathered[0] / 8 <= 0.03 * params.size
    assert sum(nbytes for name, nbytes in messages if name != "all-gather") <= 16
    report = jd.communication_report(outer, params, 8)
    assert report.total_nbytes == gathered[0] * 7 / 8


@pytest.mark.usefixtures("standard_promotion")
def test_sparse_loco_trains():
    """In twice the rounds it gets at least as far as dense rounds."""
    rng = np.random.default_rng(0)
    params = {
        "w": jnp.asarray(0.3 * rng.standard_normal((10, 400)), jnp.float32),
        "v": jnp.asarray(0.05 * rng.standard_normal((400, 1)), jnp.float32),
    }

    def final_loss(compressor, rounds):
        outer = optax.chain(jd.aggregate(AXIS, compressor=compressor), optax.sgd(1.0))
        inner = optax.adamw(1e-3, b2=0.95, weight_decay=0.1)
        init, step = local.simulated(problem.loss, inner, outer=outer)
        state = init(params)
        for index in range(rounds):
            state, metrics = step(state, local.batches(15, index))
        return float(metrics["loss"])

    dense, sparse = final_loss(None, 20), final_loss(SPARSE_LOCO, 40)
    assert dense < 0.06
    assert sparse < dense


def test_keys_metrics_and_states_of_the_model():
    """A key for every worker and step; the model state is carried, then averaged."""

    def loss(params, count, batch, key):
        noise = jax.random.normal(key, ())
        seen = {"noise": noise}
        return jnp.mean((params - batch) ** 2), seen, count + noise

    init, step = jd.simulate(
        *(loss, optax.sgd(0.1), 4, AXIS),
        outer=AVERAGE,
        key=0,
        has_aux=True,
        has_state=True,
    )
    state, metrics = step(init(jnp.zeros(()), jnp.zeros(())), jnp.ones((3, 4)))
    # Three steps of four workers, each with a draw of its own.
    np.testing.assert_allclose(state.model_state, 3 * metrics["noise"], rtol=1e-5)
    again, other = step(state, jnp.ones((3, 4)))
    del again
    assert other["noise"] != metrics["noise"]


def test_micro_batches_of_local_steps_change_nothing():
    plain, _ = _train(local.simulated, 2)
    cut, _ = _train(local.simulated, 2, micro_batches=4)
    harness.assert_trees_close(cut.params, plain.params, atol=1e-6)


def test_another_number_of_local_steps_takes_the_same_state():
    init, step = local.simulated(problem.loss, optax.adamw(1e-3), outer=DILOCO)
    with jax.numpy_dtype_promotion("standard"):
        state, _ = step(init(problem.PARAMS), local.batches(3))
        state, metrics = step(state, local.batches(7))
    assert np.isfinite(metrics["loss"])


def test_two_of_eight_attackers_with_one_bit():
    """Against the dense honest rounds: as good within a few percent of the loss."""
    honest, _ = _train(local.simulated, 40)
    attacked, _ = _train(local.simulated, 40, outer=local.OUTERS["trimmed"])
    final = [problem.loss(s.params, problem.BATCH) for s in (honest, attacked)]
    start = problem.loss(problem.PARAMS, problem.BATCH)
    assert final[0] < 0.4 * start
    assert final[1] < 0.5 * start


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"outer": 3}, "`outer` must be of type GradientTransformation"),
        ({"outer": AVERAGE, "inner_state": "keep"}, "`inner_state` must be one of"),
        ({"inner_state": "reset"}, "there are none without `outer`"),
        ({"correct_drift": True}, "`correct_drift` is for local rounds"),
        ({"global_momentum": 0.5}, "`global_momentum` is for local rounds"),
        ({"outer": AVERAGE, "global_momentum": 2}, r"`global_momentum` must .* got 2"),
        (
            {"outer": AVERAGE, "per_worker_params": True, "correct_drift": True},
            "`correct_drift` must be False where `per_worker_params`",
        ),
        (
            {"outer": AVERAGE, "per_worker_params": True, "inner_state": "average"},
            "`inner_state` must be 'carry' or 'reset' where `per_worker_params`",
        ),
        (
            {"outer": AVERAGE, "per_worker_params": True, "global_momentum": 0.5},
            "`global_momentum` must be 0 where `per_worker_params`",
        ),
    ],
)
def test_options_that_make_no_sense(options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        local.simulated(problem.loss, optax.sgd(0.1), **options)


@pytest.mark.parametrize("recipe", [local.simulated, local.on_mesh])
def test_an_inner_optimizer_that_communicates_is_refused(recipe):
    tx = optax.chain(jd.aggregate(AXIS), optax.sgd(0.1))
    init, step = recipe(problem.loss, tx, outer=AVERAGE)
    with pytest.raises(ValueError, match="must not communicate.*Put it into `outer`"):
        step(init(problem.PARAMS), local.batches(2))


@pytest.mark.parametrize("recipe", [local.simulated, local.on_mesh])
def test_batches_and_steps_must_fit(recipe):
    init, step = recipe(problem.loss, optax.sgd(0.1), outer=AVERAGE)
    state = init(problem.PARAMS)
    with pytest.raises(ValueError, match=r"`batch` of a local round must be \[H, b"):
        step(state, problem.BATCH[0])
    with pytest.raises(ValueError, match=r"`steps` must have one number for each"):
        step(state, local.batches(2), steps=np.ones(3, np.int32))
    init, step = recipe(problem.loss, optax.chain(jd.aggregate(AXIS), optax.sgd(0.1)))
    with pytest.raises(ValueError, match="`steps` says how many local steps"):
        step(init(problem.PARAMS), problem.BATCH, steps=np.ones(8, np.int32))


def test_an_outer_optimizer_must_aggregate():
    init, _ = local.simulated(problem.loss, optax.sgd(0.1), outer=optax.sgd(1.0))
    with pytest.raises(ValueError, match="`tx` gives every worker other updates"):
        init(problem.PARAMS)


@pytest.mark.parametrize(
    "options", [{"correct_drift": True}, {"inner_state": "average"}]
)
def test_a_worker_that_is_not_finite_spoils_nobody(options):
    """One worker sees NaN in one round; a rule keeps it out, and so do the means."""
    outer = optax.chain(jd.aggregate(AXIS, jd.rules.trimmed_mean(1)), optax.sgd(1.0))
    init, step = local.simulated(
        problem.loss, optax.sgd(0.1, momentum=0.9), outer=outer, **options
    )
    state = init(problem.PARAMS)
    inputs, targets = local.batches(3)
    broken = inputs.copy()
    broken[:, :8] = np.nan  # of worker 0
    for turn in (inputs, broken, inputs):
        state, _ = step(state, (turn, targets))
    for leaf in jax.tree.leaves(state.params):
        assert np.all(np.isfinite(leaf))
    held = state.opt_state.drift, state.opt_state.inner
    held = held[0] if options.get("correct_drift") else held[1]
    for leaf in jax.tree.leaves(held):
        assert np.all(np.isfinite(leaf))


def test_narrow_gradients_are_added_up_in_float32():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), problem.PARAMS)
    init, step = local.simulated(
        problem.loss, optax.sgd(0.1), outer=AVERAGE, correct_drift=True
    )
    with jax.numpy_dtype_promotion("standard"):
        state, _ = step(init(params), local.batches(3))
    assert state.opt_state.drift.common["w"].dtype == jnp.float32
    assert state.params["w"].dtype == jnp.bfloat16


PAIRS = jd.gossip.random_pairs(jax.random.key(3))
NOLOCO = optax.chain(
    optax.sgd(1.0),
    jd.mix_with_neighbors(AXIS, PAIRS, order="adapt_then_combine"),
    optax.scale(-1.0),
    jd.per_worker(AXIS, optax.sgd(0.7, momentum=0.3)),
)


def test_noloco_is_heavy_ball_towards_the_mean_of_a_pair():
    num_workers, num_steps = 6, 4
    centers = np.random.default_rng(0).standard_normal((num_workers, 3))
    batches = np.broadcast_to(centers, (num_steps, *centers.shape))
    slow = momentum = np.zeros_like(centers)
    with jax.enable_x64(True):
        init, step = jd.simulate(
            lambda params, batch: 0.5 * jnp.sum((params - batch[0]) ** 2),
            *(optax.sgd(0.1), num_workers, AXIS),
            outer=NOLOCO,
            per_worker_params=True,
        )
        state = init(jnp.zeros(3))
        for count in range(8):
            state, _ = step(state, jnp.asarray(batches))
            fast = centers + 0.9**num_steps * (slow - centers)
            phase = PAIRS.phase_of_step(num_workers, jnp.int32(count))
            mixed = PAIRS.matrix(num_workers, int(phase)) @ fast
            momentum = 0.3 * momentum + slow - mixed
            slow = slow - 0.7 * momentum
            np.testing.assert_allclose(state.params, slow, rtol=0, atol=1e-14)


@pytest.mark.parametrize("inner_state", ["carry", "reset"])
def test_rounds_of_own_parameters_agree_on_a_mesh(inner_state):
    options = dict(outer=NOLOCO, per_worker_params=True, inner_state=inner_state)
    simulated, seen = _train(local.simulated, 3, **options)
    meshed, metrics = _train(local.on_mesh, 3, **options)
    harness.assert_trees_close(meshed, simulated, atol=1e-5)
    harness.assert_trees_close(metrics, seen, atol=1e-5)
    assert np.ptp(np.asarray(simulated.params["w"]), axis=0).max() > 1e-3


@pytest.mark.parametrize("recipe", [local.simulated, local.on_mesh])
def test_all_workers_leave_out_a_round_that_is_not_finite(recipe):
    outer = jd.skip_nonfinite(AXIS, DILOCO)
    init, step = recipe(problem.loss, optax.sgd(0.1), outer=outer)
    state, _ = step(init(problem.PARAMS), local.batches(3))
    before = jax.tree.map(np.asarray, state)
    inputs, targets = local.batches(3, 1)
    inputs[:, :8] = np.nan  # of worker 0
    state, _ = step(state, (inputs, targets))
    after = jax.tree.map(np.asarray, state)
    harness.assert_trees_equal(after.params, before.params)
    assert int(after.opt_state.outer.skipped) == 1
    harness.assert_trees_equal(
        after.opt_state.outer.inner_state, before.opt_state.outer.inner_state
    )
    state, metrics = step(state, local.batches(3, 2))
    assert np.isfinite(metrics["loss"])
    assert not np.array_equal(state.params["w"], before.params["w"])


def _process(kind, folder, *stop):
    """Start a training in another process."""
    root = pathlib.Path(__file__).parent.parent.parent
    program = [sys.executable, "-m", "tests.recipes.killed_rounds", kind, folder]
    return subprocess.Popen(
        [*program, *stop],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_a_run_that_was_killed_ends_in_the_same_bits(kind, tmp_path):
    """Residuals, keys, momenta, anchors and each worker's own: all of it comes back."""
    with (
        _process(kind, tmp_path / "whole") as whole,
        _process(kind, tmp_path / "killed", "3") as victim,
    ):
        said = ""
        for line in victim.stdout:
            said += line
            if line.startswith("waits"):
                victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL, said
        wanted = whole.communicate()[0]
    with _process(kind, tmp_path / "killed") as again:
        found = again.communicate()[0]
    assert "from 0" in wanted and "from 3" in found, found
    bits = [re.search(r"bits (\w{64})", text)[1] for text in (wanted, found)]
    assert bits[0] == bits[1]


def _glomo(damping, decay=1.0):
    """Return the inner and the outer optimizer, and options, of FedGLOMO."""
    inner = optax.chain(jd.reduce_variance(decay), optax.sgd(quadratics.RATE))
    sgd = optax.sgd(1.0, momentum=1 - damping)
    outer = optax.chain(jd.aggregate(AXIS), sgd)
    options = {"outer": outer, "inner_state": "reset"}
    return inner, options | {"global_momentum": 1 - damping}


def _glomo_by_hand(rounds, damping, decay, clients_of):
    """Return parameters after each round, with the two messages of the paper."""
    x = before = np.zeros(quadratics.SIZE)
    u, found = np.zeros(quadratics.SIZE), []
    for index, (a, c) in enumerate(zip(*rounds, strict=True)):
        clients = clients_of(index)
        now, last = (
            np.array(
                [
                    start - quadratics.walk_by_hand(start, a[:, w], c[:, w], decay)[0]
                    for w in clients
                ]
            )
            for start in (x, before)
        )
        if index == 0:
            u = now.mean(axis=0)
        else:
            change = (now - last).mean(axis=0)
            u = damping * now.mean(axis=0) + (1 - damping) * (u + change)
        before, x = x, x - u
        found.append(x)
    return found


@pytest.mark.parametrize("decay", [0.8, 1.0])
def test_global_momentum_against_numpy(decay):
    """One message of each worker says the same as the two of the paper."""
    rounds = quadratics.noisy_quadratics(5)
    inner, options = _glomo(0.2, decay)
    everybody = range(quadratics.WORKERS)
    wanted = _glomo_by_hand(rounds, 0.2, decay, lambda index: everybody)
    with jax.enable_x64(True):
        init, step = jd.simulate(
            *(quadratics.loss, inner, quadratics.WORKERS, AXIS), **options
        )
        state = init(jnp.zeros(quadratics.SIZE, jnp.float64))
        for batch, params in zip(zip(*rounds, strict=True), wanted, strict=True):
            state, _ = step(state, batch)
            np.testing.assert_allclose(state.params, params, atol=1e-12)


def test_global_momentum_of_sampled_clients():
    rounds = quadratics.noisy_quadratics(6)
    inner, options = _glomo(0.2)
    init, step = jd.simulate_async(
        *(quadratics.loss, inner, quadratics.WORKERS, AXIS),
        protocol=jd.timing.k_sync(2),
        compute_time=jd.timing.exponential(),
        **options,
    )
    state, seen, clients = init(jnp.zeros(quadratics.SIZE)), [], []
    for a, c in zip(*rounds, strict=True):
        state, metrics = step(state, (a.astype(np.float32), c.astype(np.float32)))
        seen.append(np.asarray(state.params))
        clients.append(np.asarray(metrics["worker"]))
    assert len({tuple(chosen) for chosen in clients}) > 1
    wanted = _glomo_by_hand(rounds, 0.2, 1.0, lambda index: clients[index])
    np.testing.assert_allclose(seen, wanted, atol=1e-5)


@pytest.mark.parametrize("damping", [0.2, 0.7, 1.0])
def test_without_noise_global_momentum_is_the_mean(damping):
    """Of all workers, at a constant step size; without damping it is FedLOMO."""
    matrices, centres = (x[:1] for x in quadratics.noisy_quadratics(1))
    ends = []
    for share in (damping, 1.0):
        inner, options = _glomo(share)
        with jax.enable_x64(True):
            init, step = jd.simulate(
                *(quadratics.loss, inner, quadratics.WORKERS, AXIS), **options
            )
            state = init(jnp.zeros(quadratics.SIZE, jnp.float64))
            for _ in range(5):
                state, _ = step(state, (matrices[0], centres[0]))
            ends.append(np.asarray(state.params))
    np.testing.assert_allclose(*ends, atol=1e-13)


def test_global_momentum_with_workers_that_differ():
    """Absent ones, other numbers of steps, NaN of one, on a mesh and simulated."""
    outer = optax.chain(
        jd.aggregate(AXIS, jd.rules.trimmed_mean(1), FEEDBACK),
        optax.sgd(0.5, momentum=0.8),
    )
    options = {"outer": outer, "global_momentum": 0.8, "inner_state": "average"}
    weight = np.array([1, 1, 1, 1, 1, 1, 1, 0], np.float32)
    steps = np.array([1, 2, 3, 3, 3, 3, 2, 0], np.int32)
    states = []
    for recipe in (local.simulated, local.on_mesh):
        init, step = recipe(problem.loss, optax.sgd(0.1, momentum=0.9), **options)
        state = init(problem.PARAMS)
        for index in range(3):
            inputs, targets = local.batches(3, index)
            inputs[:, :8] *= np.nan if index == 1 else 1  # of worker 0
            state, _ = step(state, (inputs, targets), weight=weight, steps=steps)
        states.append(jax.tree.map(np.asarray, state))
    for leaf in jax.tree.leaves(states[0].params):
        assert np.isfinite(leaf).all()
    assert states[0].opt_state.previous.count == 3
    harness.assert_trees_close(states[1].params, states[0].params, atol=1e-6)
    harness.assert_trees_close(
        states[1].opt_state.previous, states[0].opt_state.previous, atol=1e-6
    )


def test_jitter_of_clients_with_different_data():
    """Half of the clients in each round: the parameters jump less than half as far."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((20, 4)).astype(np.float32)

    def jumps(share):
        init, step = jd.simulate_async(
            lambda params, batch: jnp.sum((params - batch[0]) ** 2) / 2,
            *(optax.sgd(0.05), 20, AXIS),
            protocol=jd.timing.k_sync(10),
            compute_time=jd.timing.exponential(),
            outer=optax.chain(jd.aggregate(AXIS), optax.sgd(1.0, momentum=share)),
            global_momentum=share,
        )
        state, seen = init(jnp.zeros(4)), []
        for _ in range(80):
            state, _ = step(state, np.broadcast_to(centres, (5, *centres.shape)))
            seen.append(np.asarray(state.params))
        return np.diff(seen[40:], axis=0).std()

    assert jumps(0.8) < 0.5 * jumps(0.0)


def test_global_momentum_needs_a_round_in_common():
    with pytest.raises(ValueError, match=r"`global_momentum` must be 0 with k_async"):
        jd.simulate_async(
            *(problem.loss, optax.sgd(0.1), 8, AXIS),
            protocol=jd.timing.k_async(2),
            compute_time=jd.timing.exponential(),
            outer=AVERAGE,
            global_momentum=0.5,
        )


def test_a_state_with_global_momentum_is_resized():
    options = {"outer": AVERAGE, "global_momentum": 0.8}
    state, _ = _train(local.simulated, 2, **options)
    tx = optax.sgd(0.1, momentum=0.9)
    before = jax.tree.map(np.asarray, state.opt_state.previous)
    state = jd.resize_training(state, tx, 4, AXIS, **options)
    harness.assert_trees_close(state.opt_state.previous, before)
    _, step = jd.simulate(problem.loss, tx, 4, AXIS, **options)
    state, metrics = step(state, local.batches(3))
    assert np.isfinite(metrics["loss"])
