"""Every law draws times, and every protocol trains in the time that its clock shows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import timing
from tests import harness
from tests.contract import table
from tests.timing import draws

NUM_WORKERS = 8
EVERY_LAW = pytest.mark.parametrize("law", table.LAWS, ids=table.names(table.LAWS))
EVERY_PROTOCOL = pytest.mark.parametrize(
    "protocol", table.PROTOCOLS, ids=table.names(table.PROTOCOLS)
)


@EVERY_LAW
def test_times_are_float32_seconds(law):
    key, index = jax.random.key(0), jnp.int32(3)
    for enabled in (False, True):
        with jax.enable_x64(enabled):
            found = law(key, index, index)
        assert found.dtype == jnp.float32
        assert found.shape == ()
        assert 0 < found < np.inf


@EVERY_LAW
def test_the_mean_is_that_of_the_draws(law):
    found = draws.draws_of(law, worker=7)
    error = 5 * found.std() / np.sqrt(found.size)
    if law.mean is not None:
        assert abs(found.mean() - law.mean) <= error + 1e-6


@EVERY_LAW
def test_a_draw_alone_is_the_draw_among_many(law):
    found = draws.draws_of(law, worker=5, number=40)
    again = draws.draws_of(law, worker=5, number=9)
    np.testing.assert_array_equal(found[:9], again)


def _loss(params, batch):
    return jnp.mean((params[None] - batch) ** 2)


def _batch(protocol):
    """Return a batch as the protocol asks for it, with a mean of 1."""
    most = protocol.most_visits(NUM_WORKERS)
    shape = (most, NUM_WORKERS * 2) if most else (NUM_WORKERS * 2,)
    rng = np.random.default_rng(0)
    return (1 + 0.1 * rng.standard_normal((*shape, 4))).astype(np.float32)


def _recipe(protocol, law=None):
    tx = optax.chain(jd.aggregate("worker", route="gather"), optax.sgd(0.05))
    return jd.simulate_async(
        *(_loss, tx, NUM_WORKERS, "worker"),
        protocol=protocol,
        compute_time=law or timing.exponential(1.0),
    )


@EVERY_PROTOCOL
def test_trains(protocol):
    init, step = _recipe(protocol)
    state = init(jnp.zeros(4))
    last = 0.0
    for _ in range(150):
        state, metrics = step(state, _batch(protocol))
        assert metrics["time"] >= last
        assert np.all(np.asarray(metrics["staleness"]) >= 0)
        assert np.all(np.diff(metrics["worker"]) >= 0)
        last = float(metrics["time"])
    assert _loss(state.params, np.ones((1, 4))) < 0.1


@EVERY_PROTOCOL
def test_the_state_keeps_its_structure(protocol):
    init, step = _recipe(protocol)
    state = init(jnp.zeros(4))
    before = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), state)
    for _ in range(2):
        state, _ = step(state, _batch(protocol))
    after = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), state)
    assert before == after


@EVERY_PROTOCOL
def test_a_restart_changes_no_bit(protocol):
    init, step = _recipe(protocol)
    state = init(jnp.zeros(4))
    for _ in range(5):
        state, _ = step(state, _batch(protocol))
    saved = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)
    _, again = _recipe(protocol)
    for _ in range(5):
        state, _ = step(state, _batch(protocol))
        saved, _ = again(saved, _batch(protocol))
    harness.assert_trees_equal(saved, state)


@EVERY_PROTOCOL
def test_training_shows_the_time_of_the_clock_alone(protocol):
    if protocol.pace is not None:
        pytest.skip("K follows the loss, which a clock does not have")
    law = timing.mixture(0.3, timing.exponential(1.0), timing.pareto(2.0, 2.0))
    wanted = timing.simulate_clock(protocol, law, NUM_WORKERS, 6)
    init, step = _recipe(protocol, law)
    state = init(jnp.zeros(4))
    for row in range(6):
        state, metrics = step(state, _batch(protocol))
        np.testing.assert_allclose(metrics["time"], wanted.time[row], rtol=1e-6)
        np.testing.assert_array_equal(metrics["worker"], wanted.worker[row])
        np.testing.assert_array_equal(metrics["staleness"], wanted.staleness[row])
