"""Recover: exact for every pattern of failures that leaves a copy of each batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS
CODE = jd.coding.repetition(8, 4)
TX = jd.recover(AXIS, CODE)
BATCHES = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
ROWS = jnp.asarray(BATCHES[CODE.block_of_worker])
PATTERNS = np.array([[int(b) for b in f"{i:08b}"] for i in range(1, 256)], bool)


def expected(pattern):
    """Return the mean of the batches that arrive, and their share."""
    known = [b for b in range(4) if pattern[CODE.block_of_worker == b].any()]
    return BATCHES[known].astype(np.float64).mean(axis=0), len(known) / 4


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_all_patterns_are_exact_where_they_cover(backend):
    updates = jnp.broadcast_to(ROWS, (255, 8, 10))
    extra = {"arrived": jnp.asarray(PATTERNS)}
    found, state = harness.run_steps(TX, backend, jnp.zeros((8, 10)), updates, extra)
    np.testing.assert_array_equal(found, np.tile(found[:1], (8, 1, 1)))
    whole = BATCHES.astype(np.float64).mean(axis=0)
    for pattern, update in zip(PATTERNS, np.asarray(found[0]), strict=True):
        mean, covered = expected(pattern)
        np.testing.assert_allclose(update, mean, rtol=0, atol=1e-6)
        assert (np.abs(update - whole).max() <= 1e-6) == (covered == 1)
    assert (np.asarray(state.num_arrived) == 8).all()  # the last pattern


def one_step(rows, backend="vmap", **extra):
    def worker(row, extra):
        return TX.update(row, TX.init(row), **extra)

    updates, state = harness.run(worker, backend, jnp.asarray(rows), extra)
    return np.asarray(updates[0]), jax.tree.map(lambda x: np.asarray(x)[0], state)


@pytest.mark.parametrize("backend", ["vmap", "shard_map"])
def test_who_is_not_finite_or_absent_has_not_arrived(backend):
    """Workers 0 and 4 have the same batch."""
    whole = BATCHES.mean(axis=0)
    for bad in (jnp.nan, jnp.inf):
        update, state = one_step(ROWS.at[0, 3].set(bad), backend)
        np.testing.assert_allclose(update, whole, atol=1e-6)
        assert (state.covered, state.num_arrived) == (1, 7)
    weight = jnp.ones(8).at[jnp.asarray([1, 4])].set(0)
    spoiled = ROWS.at[1].set(1e9).at[4].set(jnp.nan)
    update, state = one_step(spoiled, backend, weight=weight)
    np.testing.assert_allclose(update, whole, atol=1e-6)
    update, state = one_step(ROWS.at[0].set(jnp.nan).at[4].set(jnp.nan), backend)
    np.testing.assert_allclose(update, BATCHES[1:].mean(axis=0), atol=1e-6)
    assert state.covered == 0.75


def test_where_nothing_arrives_nothing_moves():
    update, state = one_step(jnp.full((8, 10), jnp.nan))
    assert (update == 0).all() and (state.covered, state.num_arrived) == (0, 0)


def test_batches_count_by_their_size():
    code = jd.coding.Code("uneven", CODE.placement[:, :], np.array([1, 2, 3, 2]))
    tx = jd.recover(AXIS, code)
    found = harness.run(lambda row: tx.update(row, tx.init(row))[0], "vmap", ROWS)
    wanted = np.average(BATCHES, axis=0, weights=[1, 2, 3, 2])
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_recipes_train_through_failures():
    def loss(params, batch):
        return jnp.mean((batch - params[None]) ** 2)

    tx = optax.chain(TX, optax.sgd(0.1))
    batch = ROWS.at[2].set(jnp.nan)
    params = []
    for init, step in (
        jd.simulate(loss, tx, 8, AXIS),
        jd.data_parallel(loss, tx, harness.make_mesh(), AXIS),
    ):
        state, _ = step(init(jnp.zeros(10)), batch)
        params.append(np.asarray(state.params))
    np.testing.assert_allclose(params[0], 0.02 * BATCHES.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(params[1], params[0], rtol=1e-6)


@pytest.mark.parametrize(
    "code", [jd.coding.cyclic_repetition(4, 1), jd.coding.random_units([4, 4], 4)]
)
def test_codes_of_several_blocks_are_refused(code):
    with pytest.raises(ValueError, match="`code` must be a repetition code.*got"):
        jd.recover(AXIS, code)


def test_what_does_not_fit_says_so():
    def step(row, **extra):
        return TX.update(row, TX.init(row), **extra)[0]

    with pytest.raises(ValueError, match="`code` .* is for 8 workers.*'data' has 4"):
        jax.vmap(step, axis_name=AXIS)(ROWS[:4])
    with pytest.raises(ValueError, match="`arrived` must be one bool.*got shape"):
        jax.vmap(lambda r: step(r, arrived=jnp.ones(2)), axis_name=AXIS)(ROWS)
    somebody = jd.Arrival(jnp.int32(0), jnp.int32(1), 16)
    with pytest.raises(ValueError, match="not all workers meet"):
        jax.vmap(lambda r: step(r, arrival=somebody), axis_name=AXIS)(ROWS)
