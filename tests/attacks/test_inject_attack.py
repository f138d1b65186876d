"""Injected attacks hit the last workers and nobody else, with or without a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.workers import _arrival
from tests import harness
from tests.contract import table

EVERY = pytest.mark.parametrize("attack", table.ATTACKS, ids=table.names(table.ATTACKS))


def first_updates():
    return jax.tree.map(lambda x: x[0], harness.gradients())


def injected(attack, num_byzantine, updates, backend="vmap", key=0):
    """Return what the workers send in their first step."""
    tx = jd.inject_attack(harness.AXIS, attack, num_byzantine, key)

    def worker(updates):
        return tx.update(updates, tx.init(updates))[0]

    return harness.run(worker, backend, updates)


@pytest.mark.parametrize(
    "attack", [jd.attacks.sign_flip(2.0), jd.attacks.gaussian(3.0)], ids=str
)
@pytest.mark.parametrize("num_byzantine", [0, 1, 3, 8])
def test_only_the_last_workers_attack(attack, num_byzantine):
    updates = first_updates()
    sent = injected(attack, num_byzantine, updates, "shard_map")
    honest = harness.NUM_WORKERS - num_byzantine
    for name, leaf in updates.items():
        assert sent[name].dtype == leaf.dtype
        np.testing.assert_array_equal(sent[name][:honest], leaf[:honest])
        if leaf.size and num_byzantine:
            assert bool(jnp.all(jnp.any(sent[name] != leaf, axis=None)))


@EVERY
def test_stacked_and_mapped_are_the_same(attack):
    updates = first_updates()
    mapped = injected(attack, 2, updates, key=5)
    state = jd.inject_attack(harness.AXIS, attack, 2, key=5).init(updates)
    first_step = jax.random.fold_in(state.key.key, 0) if attack.draws else None
    compiled = jax.jit(attack, static_argnums=1)
    harness.assert_trees_close(compiled(updates, 2, first_step), mapped)
    for name, leaf in updates.items():
        np.testing.assert_array_equal(mapped[name][:6], leaf[:6])
    # Statistics of those who collude exclude what they would send themselves.
    others = jax.tree.map(lambda leaf: leaf.at[6:].set(1e6), updates)
    if attack.collude is not None:
        harness.assert_trees_close(compiled(others, 2, first_step), mapped)


def test_each_attacker_sends_its_own_row():
    def numbers(seen, state, key):
        own = jnp.arange(seen.own.shape[0], dtype=seen.own.dtype)
        return jnp.zeros_like(seen.own) + own[:, None], state

    attack = jd.Attack(collude=numbers)
    for backend in harness.BACKENDS:
        sent = injected(attack, 3, jnp.full((8, 2), -1.0), backend)
        np.testing.assert_array_equal(sent[:, 0], [-1, -1, -1, -1, -1, 0, 1, 2])


def test_several_axes():
    """Attackers over two axes are the last of all workers."""
    tx = jd.inject_attack(("pod", "device"), jd.attacks.mimic(2), 3)
    updates = jnp.arange(8.0)

    def worker(update):
        return tx.update(update, tx.init(update))[0]

    mapped = jax.jit(jax.vmap(jax.vmap(worker, axis_name="device"), axis_name="pod"))
    sent = mapped(updates.reshape(2, 4)).reshape(8)
    np.testing.assert_array_equal(sent, [0, 1, 2, 3, 4, 2, 2, 2])


def test_memory_is_in_the_state():
    tx = jd.inject_attack("w", jd.attacks.learned_mimic(2), 1)
    updates = jax.random.normal(jax.random.key(0), (4, 3))

    def worker(update):
        state = tx.init(update)
        for _ in range(3):
            _, state = tx.update(update, state)
        return state.attack_state

    memory = jax.jit(jax.vmap(worker, axis_name="w", out_axes=None))(updates)
    assert int(memory.count) == 3
    assert float(jnp.linalg.norm(memory.direction)) == pytest.approx(1)


def test_without_attackers_nothing_travels():
    tx = jd.inject_attack("w", jd.attacks.min_max(), 0)
    report = jd.communication_report(tx, jnp.zeros(5), 4)
    assert report.total_nbytes == 0
    report = jd.communication_report(
        jd.inject_attack("w", jd.attacks.min_max(), 1), jnp.zeros(5), 4
    )
    assert report.total_nbytes == 3 * 5 * 4 and report.dense_nbytes == 0


@pytest.mark.parametrize(
    "attack", [jd.attacks.sign_flip(), jd.attacks.min_max()], ids=str
)
def test_no_leaves(attack):
    tx = jd.inject_attack("w", attack, 1)
    sent, _ = jax.jit(
        jax.vmap(lambda _: tx.update({}, tx.init({})), axis_name="w", out_axes=None)
    )(jnp.zeros(2))
    assert sent == {}


def test_range_of_num_byzantine():
    with pytest.raises(ValueError, match="`num_byzantine` must be an integer >= 0"):
        jd.inject_attack("a", jd.attacks.sign_flip(), -1)
    with pytest.raises(
        ValueError, match=r"`num_byzantine`.*\[0, 4\].*4 workers, got 5"
    ):
        jd.attacks.sign_flip()(jnp.ones((4, 2)), 5)
    with pytest.raises(ValueError, match=r"\[0, 7\] for min_sum.* of 8 workers, got 8"):
        injected(jd.attacks.min_sum(), 8, jnp.ones((8, 2)))


def test_attack_is_checked():
    with pytest.raises(TypeError, match="`attack` must be of type Attack.*got 'sign'"):
        jd.inject_attack("a", "sign", 1)


def test_an_attack_of_the_users_own():
    nan = jd.Attack(lambda updates, key: jax.tree.map(lambda x: x * jnp.nan, updates))
    sent = nan(jnp.ones((3, 2)), 1)
    np.testing.assert_array_equal(jnp.isnan(sent).any(axis=1), [False, False, True])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_updates_keep_their_dtypes_whatever_the_scale_is(dtype):
    attack = jd.attacks.sign_flip(np.float32(2))
    tx = jd.inject_attack(harness.AXIS, attack, 1)
    updates = jnp.ones(8, dtype)
    with jax.numpy_dtype_promotion("standard"):
        sent = harness.run(lambda g: tx.update(g, tx.init(g))[0], "vmap", updates)
        stacked = jax.jit(attack, static_argnames="num_byzantine")(
            updates, num_byzantine=1
        )
    for seen in (sent, stacked):
        assert seen.dtype == dtype
        np.testing.assert_array_equal(seen.astype(jnp.float32), [1] * 7 + [-2])


def test_leaves_without_elements_are_no_aggregated_gradients():
    """JAX forgets that what has no elements differs between workers."""
    tx = optax.chain(
        jd.inject_attack(harness.AXIS, jd.attacks.a_little_is_enough(1.0), 2),
        jd.aggregate(harness.AXIS, jd.rules.median()),
    )
    updates = {"empty": jnp.zeros((8, 0, 3)), "kernel": jnp.ones((8, 2))}

    def worker(updates):
        return tx.update(updates, tx.init(updates))[0]

    merged = harness.run(worker, "shard_map", updates)
    assert merged["empty"].shape == (8, 0, 3)
    np.testing.assert_array_equal(merged["kernel"], updates["kernel"])


def met(attack, num_byzantine, workers, updates, num_workers=8, key=0):
    """Return what those of W workers who meet send in their first step."""
    tx = jd.inject_attack(harness.AXIS, attack, num_byzantine, key)

    def worker(index, updates):
        arrival = _arrival.Arrival(index, jnp.int32(1), num_workers)
        return tx.update(updates, tx.init(updates), arrival=arrival)[0]

    return harness.run(worker, "vmap", jnp.array(workers), updates)


@pytest.mark.parametrize("workers", [[0, 1, 2], [1, 4, 6], [0, 6, 7], [5, 6, 7], [3]])
@pytest.mark.parametrize("num_byzantine", [1, 3, 8])
def test_in_simulated_time_the_last_of_all_workers_attack(workers, num_byzantine):
    updates = jnp.arange(1.0, len(workers) + 1)
    sent = met(jd.attacks.sign_flip(), num_byzantine, workers, updates)
    attacks = np.array(workers) >= 8 - num_byzantine
    np.testing.assert_array_equal(sent, np.where(attacks, -updates, updates))


def test_a_place_without_anybody_does_not_attack():
    sent = met(jd.attacks.sign_flip(), 2, [1, 7, 8], jnp.ones(3))
    np.testing.assert_array_equal(sent, [1, -1, 1])


def test_in_simulated_time_attackers_draw_as_themselves():
    attack = jd.attacks.gaussian()
    everybody = met(attack, 3, range(8), jnp.zeros((8, 4)))
    some = met(attack, 3, [0, 5, 7], jnp.zeros((3, 4)))
    np.testing.assert_array_equal(some, everybody[jnp.array([0, 5, 7])])
    whole = injected(attack, 3, jnp.zeros((8, 4)))
    np.testing.assert_array_equal(everybody, whole)


@pytest.mark.parametrize(
    ("workers", "attacks"),
    [
        ([0, 1, 2, 3], [False, False, False, False]),
        ([0, 1, 2, 7], [False, False, False, True]),
        ([0, 3, 6, 7], [False, False, True, True]),
    ],
)
def test_who_colludes_takes_the_first_places_for_honest(workers, attacks):
    """Two of eight attack and four meet: the first two are honest for sure."""

    def craft(seen, state, key):
        mean = jnp.mean(seen.honest, axis=0)
        return -seen.own + mean[None], state

    updates = jnp.arange(8.0).reshape(4, 2) + 1
    sent = met(jd.Attack(collude=craft), 2, workers, updates)
    crafted = -updates + updates[:2].mean(axis=0)[None]
    expected = np.where(np.array(attacks)[:, None], crafted, updates)
    np.testing.assert_allclose(sent, expected)


def test_everybody_who_meets_may_be_an_attacker():
    def silence(seen, state, key):
        assert seen.honest.shape[0] == 0 and seen.own.shape[0] == 2
        return jnp.zeros_like(seen.own[0]), state

    sent = met(jd.Attack(collude=silence), 5, [1, 4], jnp.ones((2, 3)))
    np.testing.assert_array_equal(sent, [[1, 1, 1], [0, 0, 0]])


@EVERY
def test_where_everybody_meets_nothing_changes(attack):
    updates = jnp.asarray(np.random.default_rng(0).standard_normal((8, 5)), jnp.float32)
    found = met(attack, 2, range(8), updates, key=3)
    expected = injected(attack, 2, updates, key=3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_workers_of_nodes_meet_too():
    """Arrivals over a tuple of axes; the attackers are those of the second node."""
    tx = jd.inject_attack(("pod", "device"), jd.attacks.mimic(0), 4)

    def worker(update, index):
        arrival = _arrival.Arrival(index, jnp.int32(1), 12)
        return tx.update(update, tx.init(update), arrival=arrival)[0]

    mapped = jax.jit(jax.vmap(jax.vmap(worker, axis_name="device"), axis_name="pod"))
    workers = jnp.array([[0, 3, 5], [7, 9, 11]])
    sent = mapped(jnp.arange(6.0).reshape(2, 3), workers)
    np.testing.assert_array_equal(sent, [[0, 1, 2], [3, 0, 0]])


def test_too_few_honest_workers_who_meet():
    with pytest.raises(ValueError, match=r"Only 3 of 8 workers meet.*\[0, 2\].*got 3"):
        met(jd.attacks.mimic(), 4, [0, 1, 2], jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"`num_byzantine`.*\[0, 8\].*got 9"):
        met(jd.attacks.mimic(), 9, [0, 1, 2], jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"`num_byzantine`.*\[0, 8\].*got 9"):
        met(jd.attacks.sign_flip(), 9, [0, 1, 2], jnp.ones((3, 2)))
