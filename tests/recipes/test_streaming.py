"""Rounds that stream: torchft's numbers, plain rounds as a special case, no waiting."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest

import jaxdist as jd
from jaxdist.recipes import _streaming
from tests import harness
from tests.recipes import local, problem

AXIS = harness.AXIS
AVERAGE, DILOCO, FEEDBACK = local.AVERAGE, local.DILOCO, local.FEEDBACK
STREAM = {"fragments": jd.fragments.strided(2), "overlap": 1, "keep_local": 0.25}
RECIPES = {"simulated": local.simulated, "mesh": local.on_mesh}
EACH_RECIPE = pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))


def _train(recipe, rounds, tx=None, weight=None, **options):
    tx = tx or optax.sgd(0.1, momentum=0.9)
    init, step = recipe(problem.loss, tx, **({"outer": AVERAGE} | options))
    state = init(problem.PARAMS)
    for index in range(rounds):
        state, metrics = step(state, local.batches(6, index), weight=weight)
    return state, metrics


def _own(state):
    return state.opt_state.own.inner_state


# The parameters of both fragments before each step, and the anchors after each round,
# of torchft's fixtures: start 1, gradient 2, learning rate 1, an outer one of 2, a
# fragment every third step.
FIXTURES = {
    (0, 0.0): (
        [1, -1, -3, -11, -13, -15, -17, -19, -21, -35, -37, -39],
        [1, -1, -3, -5, -7, -9, -23, -25, -27, -29, -31, -33],
        [(-11, -23), (-35, -47)],
    ),
    (0, 0.5): (
        [1, -1, -3, -8, -10, -12, -14, -16, -18, -24.5, -26.5, -28.5],
        [1, -1, -3, -5, -7, -9, -17, -19, -21, -23, -25, -27],
        [(-11, -23), (-29, -35)],
    ),
    (1, 0.0): (
        [1, -1, -3, -7, -9, -11, -13, -15, -17, -27, -29, -31],
        [1, -1, -3, -5, -7, -9, -19, -21, -23, -25, -27, -29],
        [(-7, -19), (-27, -39)],
    ),
    (1, 0.5): (
        [1, -1, -3, -6, -8, -10, -12, -14, -16, -21.5, -23.5, -25.5],
        [1, -1, -3, -5, -7, -9, -15, -17, -19, -21, -23, -25],
        [(-7, -19), (-25, -31)],
    ),
    (0, 1.0): ([1 - 2 * t for t in range(12)],) * 2 + ([(-11, -23), (-23, -23)],),
    (1, 1.0): ([1 - 2 * t for t in range(12)],) * 2 + ([(-7, -19), (-23, -23)],),
}


@EACH_RECIPE
@pytest.mark.parametrize("case", FIXTURES, ids=str)
def test_the_numbers_of_torchft(case, recipe):
    overlap, keep_local = case
    outer = optax.chain(jd.aggregate(AXIS), optax.sgd(2.0))

    def loss(params, seen, batch):
        """Write the parameters down before each step; their gradient is 2."""
        now = jnp.stack([params["a"], params["b"]])
        table = seen["table"].at[seen["count"]].set(now)
        value = 2 * (params["a"] + params["b"]) + 0 * jnp.mean(batch)
        return value, {"table": table, "count": seen["count"] + 1}

    init, step = recipe(
        *(loss, optax.sgd(1.0)),
        outer=outer,
        has_state=True,
        fragments=jd.fragments.strided(2),
        overlap=overlap,
        keep_local=keep_local,
    )
    state = init(
        {"a": jnp.ones(()), "b": jnp.ones(())},
        {"table": jnp.zeros((12, 2)), "count": jnp.int32(0)},
    )
    first, second, anchors = FIXTURES[case]
    for anchor in anchors:
        state, _ = step(state, jnp.zeros((6, 8)))
        found = tuple(float(state.params[name]) for name in "ab")
        assert found == anchor
    np.testing.assert_array_equal(state.model_state["table"][:, 0], first)
    np.testing.assert_array_equal(state.model_state["table"][:, 1], second)


def _oracle(problem_of, rounds, overlap, keep_local, phases=2, phase=3, rate=0.1):
    """Return anchors and own parameters of scalars per fragment, in plain NumPy."""
    own = np.ones((4, phases))
    anchor, momentum = np.ones(phases), np.zeros(phases)
    for _ in range(rounds):
        for fragment in range(phases):
            for turn in range(phase):
                if turn == phase - overlap:
                    sent = own[:, fragment].copy()
                own -= rate * problem_of(own)
            if not overlap:
                sent = own[:, fragment].copy()
            move = np.mean(anchor[fragment] - sent)
            momentum[fragment] = 0.9 * momentum[fragment] + move
            anchor[fragment] -= 0.7 * (0.9 * momentum[fragment] + move)
            own[:, fragment] *= keep_local
            own[:, fragment] += (1 - keep_local) * anchor[fragment]
    return anchor, own


@pytest.mark.parametrize(("overlap", "keep_local"), [(0, 0), (1, 0.5), (2, 0.3)])
def test_workers_with_different_data_against_numpy(overlap, keep_local):
    """Coupled quadratics; each fragment has a momentum of its own."""
    centres = np.random.default_rng(0).standard_normal((4, 2))

    def loss(params, centre):
        x = jnp.stack([params["a"], params["b"]]) - centre[0]
        return 0.5 * jnp.sum(x**2) + 0.3 * x[0] * x[1]

    def gradient(own):
        return (own - centres) + 0.3 * (own - centres)[:, ::-1]

    with jax.enable_x64(True):
        init, step = jd.simulate(
            *(loss, optax.sgd(0.1), 4, AXIS),
            outer=DILOCO,
            fragments=jd.fragments.sequential(2),
            overlap=overlap,
            keep_local=keep_local,
        )
        state = init({name: jnp.ones((), jnp.float64) for name in "ab"})
        for _ in range(5):
            state, _ = step(state, np.broadcast_to(centres, (6, 4, 2)))
    anchor, own = _oracle(gradient, 5, overlap, keep_local)
    for index, name in enumerate("ab"):
        np.testing.assert_allclose(state.params[name], anchor[index], atol=1e-12)
        np.testing.assert_allclose(_own(state)[name], own[:, index], atol=1e-12)


OUTERS = local.OUTERS | {
    "power_sgd": optax.chain(
        jd.aggregate(AXIS, compressor=jd.compression.power_sgd(1)), optax.sgd(1.0)
    ),
    "ef21": optax.chain(
        jd.aggregate(AXIS, compressor=jd.compression.ef21(jd.compression.top_k(0.1))),
        optax.sgd(0.5),
    ),
    "sharded": jd.shard_optimizer(AXIS, optax.sgd(0.7, momentum=0.9)),
}


@EACH_RECIPE
@pytest.mark.parametrize("inner_state", ["carry", "reset"])
@pytest.mark.parametrize("name", ["average", "diloco", "signs"])
def test_one_fragment_that_does_not_overlap_is_a_plain_round(name, inner_state, recipe):
    options = {"outer": OUTERS[name], "inner_state": inner_state}
    plain, seen = _train(recipe, 3, **options)
    whole = jd.fragments.strided(1)
    stream, metrics = _train(recipe, 3, fragments=whole, **options)
    (outer,) = stream.opt_state.outer
    harness.assert_trees_close(stream.params, plain.params, atol=1e-6)
    harness.assert_trees_close(outer, plain.opt_state.outer, atol=1e-6)
    harness.assert_trees_close(stream.opt_state.inner, plain.opt_state.inner, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], seen["loss"], rtol=1e-5)
    for leaf, anchor in zip(
        *map(jax.tree.leaves, (_own(stream), stream.params)), strict=True
    ):
        np.testing.assert_array_equal(leaf, np.broadcast_to(anchor, leaf.shape))


@pytest.mark.parametrize("weight", [None, np.array([1, 0, 2, 1, 1, 1, 1, 1.0])])
@pytest.mark.parametrize("name", OUTERS)
def test_a_mesh_and_a_simulation_agree(name, weight):
    options = {"outer": OUTERS[name], "weight": weight, **STREAM}
    if name in ("diloco", "signs"):
        options["inner_state"] = "reset"
    if name == "ef21" and weight is not None:
        aggregation = jd.aggregate(
            AXIS,
            compressor=jd.compression.ef21(jd.compression.top_k(0.1)),
            weighted=True,
        )
        options["outer"] = optax.chain(aggregation, optax.sgd(0.5))
    if name == "power_sgd":
        options["keep_local"] = 0.0
    simulated, seen = _train(local.simulated, 2, **options)
    meshed, metrics = _train(local.on_mesh, 2, **options)
    harness.assert_trees_close(
        jax.tree.map(np.asarray, meshed),
        jax.tree.map(np.asarray, simulated),
        *(2e-4, 2e-5) if name == "power_sgd" else (1e-5, 1e-6),
    )
    np.testing.assert_allclose(metrics["loss"], seen["loss"], rtol=1e-4)
    for leaf in jax.tree.leaves(meshed.params):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert all(np.array_equal(shard, shards[0]) for shard in shards)


@EACH_RECIPE
def test_a_state_keeps_its_structure_and_its_place(recipe):
    init, step = recipe(problem.loss, optax.adamw(1e-3), outer=DILOCO, **STREAM)
    with jax.numpy_dtype_promotion("standard"):
        before = init(problem.PARAMS)
        outline = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), before)
        state, _ = step(before, local.batches(6))
        assert jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state) == outline
        state, metrics = step(state, local.batches(4))  # another H
    assert np.isfinite(metrics["loss"])
    assert _own(state)["w"].shape == (8, 10, 16)
    assert len(state.opt_state.outer) == 2


def test_a_checkpoint_moves_between_a_simulation_and_a_mesh(tmp_path):
    """A run that was killed between two rounds goes on bit by bit, and elsewhere."""
    options = {"outer": OUTERS["signs"], **STREAM}
    init, step = local.simulated(problem.loss, optax.sgd(0.1, momentum=0.9), **options)
    state, _ = step(init(problem.PARAMS), local.batches(6))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        again = checkpointer.restore(tmp_path / "state", state)
        init, on_mesh = local.on_mesh(
            problem.loss, optax.sgd(0.1, momentum=0.9), **options
        )
        meshed = checkpointer.restore(tmp_path / "state", init(problem.PARAMS))
    state, _ = step(state, local.batches(6, 1))
    again, _ = step(again, local.batches(6, 1))
    harness.assert_trees_equal(again, state)
    meshed, _ = on_mesh(meshed, local.batches(6, 1))
    harness.assert_trees_close(
        *(jax.tree.map(np.asarray, tree) for tree in (meshed, state))
    )


def test_names_on_disk_never_change():
    init, _ = local.simulated(
        *(problem.loss, optax.sgd(0.1, momentum=0.9)), outer=OUTERS["signs"], **STREAM
    )
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree.leaves_with_path(init(problem.PARAMS))
    ]
    uplink = "0/uplink/inner_state"
    assert names == [
        *("params/v", "params/w"),
        *("opt_state/inner/inner_state/0/trace/v",),
        *("opt_state/inner/inner_state/0/trace/w", "opt_state/outer/0/0/count"),
        f"opt_state/outer/0/{uplink}/v/residual",
        *("opt_state/outer/0/0/rule/num_nonfinite",),
        *("opt_state/outer/0/0/rule/num_absent", "opt_state/outer/1/0/count"),
        f"opt_state/outer/1/{uplink}/w/residual",
        *("opt_state/outer/1/0/rule/num_nonfinite",),
        *("opt_state/outer/1/0/rule/num_absent",),
        *("opt_state/own/inner_state/v", "opt_state/own/inner_state/w"),
    ]


def test_a_round_can_be_scanned():
    init, step = local.simulated(problem.loss, optax.sgd(0.1), outer=DILOCO, **STREAM)
    rounds = jax.tree.map(
        lambda *leaves: np.stack(leaves),
        *(local.batches(6, index) for index in range(3)),
    )
    scanned, _ = jax.jit(lambda s: jax.lax.scan(step, s, rounds))(init(problem.PARAMS))
    state, _ = _train(local.simulated, 3, optax.sgd(0.1), outer=DILOCO, **STREAM)
    harness.assert_trees_close(scanned, state, atol=1e-6)


def test_who_keeps_its_own_does_not_notice_the_exchange():
    options = {"fragments": jd.fragments.strided(2), "keep_local": 1.0}
    state, _ = _train(local.simulated, 2, optax.sgd(0.1), outer=DILOCO, **options)
    params = problem.PARAMS
    for index in range(2):
        for x, y in zip(*local.batches(6, index), strict=True):
            gradient = jax.grad(problem.loss)(params, (x[:8], y[:8]))
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    first = jax.tree.map(lambda leaf: leaf[0], _own(state))
    harness.assert_trees_close(first, params, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"fragments": jd.fragments.strided(2)},
        {"overlap": 2},
        {"keep_local": 0.5},
    ],
)
def test_each_option_alone_is_a_stream(options):
    state, metrics = _train(local.simulated, 2, **options)
    assert isinstance(state.opt_state, jd.StreamState)
    assert np.isfinite(metrics["loss"])


def test_who_is_absent_goes_on_from_the_anchor():
    init, step = local.simulated(
        *(problem.loss, optax.sgd(0.1, momentum=0.9)), outer=DILOCO, **STREAM
    )
    state, _ = step(init(problem.PARAMS), local.batches(6))
    before = jax.tree.map(np.asarray, state.opt_state.inner)
    weight = np.array([1, 0, 1, 1, 1, 1, 1, 1], np.float32)
    state, metrics = step(state, local.batches(6, 1), weight=weight)
    assert np.isfinite(metrics["loss"])
    for leaf, anchor in zip(
        *map(jax.tree.leaves, (_own(state), state.params)), strict=True
    ):
        np.testing.assert_array_equal(leaf[1], anchor)
        assert not np.array_equal(leaf[0], anchor)
    for old, new in zip(
        *map(jax.tree.leaves, (before, state.opt_state.inner)), strict=True
    ):
        np.testing.assert_array_equal(old[1], new[1])
        assert not np.array_equal(old[0], new[0])


@EACH_RECIPE
@pytest.mark.parametrize("keep_local", [0.0, 0.5])
def test_a_worker_that_is_not_finite_recovers_and_spoils_nobody(recipe, keep_local):
    outer = optax.chain(jd.aggregate(AXIS, jd.rules.trimmed_mean(1)), optax.sgd(1.0))
    options = STREAM | {"keep_local": keep_local}
    init, step = recipe(problem.loss, optax.sgd(0.1), outer=outer, **options)
    state = init(problem.PARAMS)
    inputs, targets = local.batches(6)
    broken = inputs.copy()
    broken[:, :8] = np.nan  # of worker 0
    for turn in (inputs, broken, inputs):
        state, metrics = step(state, (turn, targets))
    assert np.isfinite(metrics["loss"])
    for leaf in jax.tree.leaves((state.params, _own(state))):
        assert np.all(np.isfinite(leaf))


def test_all_workers_leave_out_an_exchange_that_is_not_finite():
    """`skip_nonfinite` in `outer` guards each fragment, and the next round is whole."""
    outer = jd.skip_nonfinite(AXIS, DILOCO)
    init, step = local.simulated(problem.loss, optax.sgd(0.1), outer=outer, **STREAM)
    state, _ = step(init(problem.PARAMS), local.batches(6))
    before = jax.tree.map(np.asarray, state.params)
    inputs, targets = local.batches(6, 1)
    inputs[:, :8] = np.nan
    state, _ = step(state, (inputs, targets))
    harness.assert_trees_equal(jax.tree.map(np.asarray, state.params), before)
    assert [int(part.skipped) for part in state.opt_state.outer] == [1, 1]
    state, metrics = step(state, local.batches(6, 2))
    assert np.isfinite(metrics["loss"])
    assert not np.array_equal(state.params["w"], before["w"])


@EACH_RECIPE
def test_steps_of_a_slow_worker_are_spread_over_the_phases(recipe):
    """Two fragments: of four steps a worker takes two in each phase, one early."""
    outer = optax.chain(jd.aggregate(AXIS), optax.sgd(1.0))

    def loss(params, seen, batch, key):
        del key
        value = params["a"] + params["b"] + 0 * jnp.mean(batch)
        return value, {"seen": jnp.mean(batch)}, seen + jnp.mean(batch)

    init, step = recipe(
        *(loss, optax.sgd(1.0)),
        outer=outer,
        has_aux=True,
        has_state=True,
        key=0,
        fragments=jd.fragments.strided(2),
        overlap=2,
    )
    state = init({"a": jnp.zeros(()), "b": jnp.zeros(())}, jnp.zeros(()))
    batches = jnp.broadcast_to(jnp.arange(6.0)[:, None], (6, 8))
    steps = np.array([6, 4, 0, 1, 5, 6, 6, 99], np.int32)
    state, metrics = step(state, batches, steps=steps)
    # Phases take batches 0 1 2 and 3 4 5; the first of each is before the exchange.
    early = np.array([1, 1, 0, 0, 1, 1, 1, 1])  # of the phase of fragment a
    np.testing.assert_allclose(state.params["a"], -np.mean(early), rtol=1e-6)
    late = np.array([4, 3, 0, 1, 3, 4, 4, 4])  # of b: a whole phase and an early step
    np.testing.assert_allclose(state.params["b"], -np.mean(late), rtol=1e-6)
    sums = np.array([15, 0 + 1 + 3 + 4, 0, 3, 0 + 1 + 3 + 4 + 5, 15, 15, 15])
    np.testing.assert_allclose(state.model_state, sums.mean(), rtol=1e-6)
    taken = np.minimum(steps, 6)
    seen = sums[taken > 0] / taken[taken > 0]
    np.testing.assert_allclose(metrics["seen"], seen.mean(), rtol=1e-6)


def test_every_local_step_draws_a_key_of_its_own():
    def loss(params, batch, key):
        noise = jax.random.normal(key, ())
        return params["a"] + params["b"] + 0 * jnp.mean(batch), {"noise": noise}

    init, step = jd.simulate(
        *(loss, optax.sgd(0.1), 1, AXIS), outer=AVERAGE, key=0, has_aux=True, **STREAM
    )
    plain_init, plain_step = jd.simulate(
        *(loss, optax.sgd(0.1), 1, AXIS), outer=AVERAGE, key=0, has_aux=True
    )
    params = {"a": jnp.zeros(()), "b": jnp.zeros(())}
    _, metrics = step(init(params), jnp.zeros((6, 1)))
    _, wanted = plain_step(plain_init(params), jnp.zeros((6, 1)))
    np.testing.assert_allclose(metrics["noise"], wanted["noise"], rtol=1e-5)


def _program(number=6, **options):
    init, step = local.on_mesh(problem.loss, optax.sgd(0.1, momentum=0.9), **options)
    return step.lower(init(problem.PARAMS), local.batches(number)).compile()


def _compiled(outer, number=6, **options):
    return _program(number, outer=outer, **(STREAM | options)).as_text()


COLLECTIVE = re.compile(r"(all-reduce|all-gather|all-to-all|collective-permute)\(")


@pytest.mark.parametrize("name", ["diloco", "signs"])
def test_no_message_in_the_local_steps(name):
    text = _compiled(OUTERS[name], 8, overlap=2)
    bodies = set(re.findall(r"body=%?([\w.-]+)", text))
    assert len(bodies) >= 4  # two phases with steps before and after the exchange
    blocks = re.split(r"\n(?=%?[\w.-]+ \(|ENTRY)", text)
    inside = [b for b in blocks if re.match(r"%?([\w.-]+)", b).group(1) in bodies]
    assert len(inside) == len(bodies)
    assert not any(COLLECTIVE.search(block) for block in inside)


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("name", ["diloco", "signs", "trimmed", "sharded"])
def test_the_reports_of_the_fragments_are_what_a_round_sends(name, overlap):
    parts = STREAM["fragments"].split(problem.PARAMS)
    reports = [
        jd.communication_report(OUTERS[name], part, 8, overlap=overlap > 0)
        for part in parts
    ]
    assert all(report.total_nbytes > 0 for report in reports)
    total = sum(report.total_nbytes for report in reports)
    metrics = 2 * 7 / 8 * 4  # an all-reduce of the loss
    sent = harness.bytes_sent(_compiled(OUTERS[name], overlap=overlap))
    assert sent == pytest.approx(total + metrics, abs=1e-6)


def test_a_worker_stores_one_more_copy_of_the_parameters():
    whole = jd.fragments.strided(1)
    programs = _program(outer=DILOCO), _program(outer=DILOCO, fragments=whole)
    plain, stream = (p.memory_analysis().argument_size_in_bytes for p in programs)
    params = sum(leaf.nbytes for leaf in jax.tree.leaves(problem.PARAMS))
    assert stream - plain == params


def test_what_overlaps_is_no_all_reduce():
    def reduced(text):
        found = harness.collectives(text)
        return sum(nbytes for name, nbytes in found if name == "all-reduce")

    assert reduced(_compiled(DILOCO)) == 4  # the loss
    assert reduced(_compiled(DILOCO, overlap=0)) > 600


def test_fragments_differ_and_all_are_exchanged():
    """A fragment is exchanged once in a round, and the other then is not."""
    init, step = local.simulated(
        *(problem.loss, optax.sgd(0.1)), outer=AVERAGE, fragments=STREAM["fragments"]
    )
    state, _ = step(init(problem.PARAMS), local.batches(6))
    own = jax.tree.map(lambda leaf: np.ptp(leaf, axis=0).max(), _own(state))
    fragments = STREAM["fragments"].number_leaves(problem.PARAMS)
    names = sorted(problem.PARAMS)
    last = names[fragments.index(1)]
    first = names[fragments.index(0)]
    assert own[last] == 0 and own[first] > 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_parameters_stay_narrow(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), problem.PARAMS)
    init, step = local.simulated(problem.loss, optax.sgd(0.1), outer=DILOCO, **STREAM)
    with jax.numpy_dtype_promotion("standard"):
        state, metrics = step(init(params), local.batches(6))
    assert {x.dtype for x in jax.tree.leaves((state.params, _own(state)))} == {
        jnp.dtype(dtype)
    }
    assert np.isfinite(metrics["loss"])


def test_groups_of_workers_stream_too():
    """One aggregation within and one between groups, each with its own memory."""
    mesh = jax.make_mesh((2, 4), ("pod", "host"))
    outer = optax.chain(
        jd.aggregate("host"),
        jd.aggregate("pod", compressor=FEEDBACK),
        optax.sgd(1.0),
    )
    init, step = jd.data_parallel(
        *(problem.loss, optax.sgd(0.1), mesh, ("pod", "host")), outer=outer, **STREAM
    )
    state = init(problem.PARAMS)
    outline = jax.tree.map(lambda x: (x.shape, x.sharding), state)
    weight = np.array([1, 1, 0, 1, 1, 2, 1, 1], np.float32)
    for index in range(2):
        state, metrics = step(state, local.batches(6, index), weight=weight)
    assert np.isfinite(metrics["loss"])
    assert jax.tree.map(lambda x: (x.shape, x.sharding), state) == outline
    for leaf in jax.tree.leaves(state.params):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert all(np.array_equal(shard, shards[0]) for shard in shards)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"fragments": 3}, "`fragments` must be of type Fragments.*strided"),
        ({"overlap": -1}, "`overlap` must be an integer >= 0"),
        ({"keep_local": 1.5}, r"`keep_local` must lie in \[0.0, 1.0\]"),
        ({"overlap": 1, "outer": None}, "there are none without `outer`"),
        ({"overlap": 1, "correct_drift": True}, "`correct_drift` must be False with"),
        ({"overlap": 1, "global_momentum": 0.5}, "`global_momentum` must be 0 with"),
        (
            {"overlap": 1, "per_worker_params": True},
            "`per_worker_params` must be False with",
        ),
        (
            {"keep_local": 0.5, "inner_state": "average"},
            "`inner_state` must be 'carry' or 'reset' with",
        ),
    ],
)
@EACH_RECIPE
def test_options_that_make_no_sense(recipe, options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        recipe(problem.loss, optax.sgd(0.1), **({"outer": AVERAGE} | options))


@EACH_RECIPE
def test_a_round_must_fit_its_fragments(recipe):
    init, step = recipe(problem.loss, optax.sgd(0.1), outer=AVERAGE, **STREAM)
    state = init(problem.PARAMS)
    with pytest.raises(ValueError, match="fragments, 2, divides, got an H of 5"):
        step(state, local.batches(5))
    with pytest.raises(ValueError, match="`overlap` must be less than.*are 1 for 2"):
        step(state, local.batches(2))
    with pytest.raises(ValueError, match="`batch` must have arrays, got none"):
        step(state, ())
    init, _ = recipe(
        *(problem.loss, optax.sgd(0.1)), outer=AVERAGE, fragments=THREE_FRAGMENTS
    )
    with pytest.raises(ValueError, match="`num_fragments` must be at most"):
        init(problem.PARAMS)


@EACH_RECIPE
def test_a_state_of_other_fragments_is_refused(recipe):
    one = jd.fragments.strided(1)
    init, _ = recipe(problem.loss, optax.sgd(0.1), outer=AVERAGE, fragments=one)
    _, step = recipe(problem.loss, optax.sgd(0.1), outer=AVERAGE, **STREAM)
    with pytest.raises(ValueError, match="those of the state, 1, got 2 of strided"):
        step(init(problem.PARAMS), local.batches(6))


THREE_FRAGMENTS = jd.fragments.strided(3)


@EACH_RECIPE
def test_optimizers_in_the_wrong_place_are_refused(recipe):
    inner = optax.chain(jd.aggregate(AXIS), optax.sgd(0.1))
    init, step = recipe(problem.loss, inner, outer=AVERAGE, **STREAM)
    with pytest.raises(ValueError, match="must not communicate.*Put it into `outer`"):
        step(init(problem.PARAMS), local.batches(6))
    init, _ = recipe(problem.loss, optax.sgd(0.1), outer=optax.sgd(1.0), **STREAM)
    with pytest.raises(ValueError, match="`tx` gives every worker other updates"):
        init(problem.PARAMS)


def test_a_state_of_plain_rounds_is_refused():
    init, _ = local.simulated(problem.loss, optax.sgd(0.1), outer=AVERAGE)
    _, step = local.simulated(problem.loss, optax.sgd(0.1), outer=AVERAGE, **STREAM)
    with pytest.raises(TypeError, match="must be the StreamState that `init` of local"):
        step(init(problem.PARAMS), local.batches(6))


def test_what_was_seen_in_parts_of_a_round():
    parts = [
        _streaming.Seen(jnp.float32(jnp.nan), jnp.int32(0)),
        _streaming.Seen(jnp.float32(3.0), jnp.int32(1)),
        _streaming.Seen(jnp.float32(1.0), jnp.int32(3)),
    ]
    mean, number = _streaming._seen_in_all(parts)
    assert (float(mean), int(number)) == (1.5, 4)
    mean, number = _streaming._seen_in_all(parts[:1])
    assert np.isnan(mean) and number == 0
