"""Codes in simulated time: when the clock stops, and what the messages give."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import coding, timing
from jaxdist.timing import _clock, _simulate_clock

CODES = [
    coding.uncoded(4, 12),
    coding.batched_coupons(12, 12, 3),
    coding.random_units([4, 6, 8, 8, 6], 12, key=1),
    coding.fractional_repetition(6, 2),
    coding.cyclic_repetition(4, 1),
    coding.cyclic_repetition(6, 2),
]


def _batch(code, seed=0):
    """Return three examples of each unit."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((3 * code.num_units, 5)).astype(np.float32)
    return inputs, np.sin(inputs[:, 0])


def _loss(params, batch):
    inputs, targets = batch
    return jnp.mean((inputs @ params - targets) ** 2)


def _simulation(code, tx=None, limit=None, law=None, **options):
    return jd.simulate_async(
        _loss,
        tx or optax.chain(jd.aggregate("w"), optax.sgd(0.1)),
        *(code.num_workers, "w"),
        protocol=timing.until_decodable(code, limit),
        compute_time=law or timing.exponential(1.0),
        **options,
    )


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_every_update_is_the_gradient_of_all_data(code):
    init, step = _simulation(code)
    batch, params = _batch(code), jnp.zeros(5)
    state, last = init(params), 0.0
    for _ in range(10):
        state, metrics = step(state, batch)
        params -= 0.1 * jax.grad(_loss)(params, batch)
        np.testing.assert_allclose(state.params, params, atol=3e-6)
        assert metrics["time"] > last
        last = metrics["time"]


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_the_clock_stops_when_enough_has_arrived(code):
    rng = np.random.default_rng(3)
    times = rng.exponential(1.0, (code.num_workers, 50)).astype(np.float32)
    found = timing.simulate_clock(
        timing.until_decodable(code), timing.trace(times), code.num_workers, 50
    )
    steps = [float(code.finish_time(row * code.loads)) for row in times.T]
    np.testing.assert_allclose(found.time, np.cumsum(steps), rtol=1e-5)


def test_stragglers_are_not_waited_for():
    """One worker never comes: repetition goes on, uncoded stands still."""
    factors = np.ones(6)
    factors[2] = np.inf
    law = timing.slowed(timing.exponential(1.0), factors)
    code = coding.fractional_repetition(6, 2)
    found = timing.simulate_clock(timing.until_decodable(code), law, 6, 5)
    assert np.all(np.isfinite(found.time))
    assert 2 not in np.asarray(found.worker)
    plain = timing.until_decodable(coding.uncoded(6, 6))
    assert np.all(np.isinf(timing.simulate_clock(plain, law, 6, 5).time))


def test_with_a_limit_the_mean_has_no_bias():
    """Over all orders of the workers, the mean of what is taken is the mean of all."""
    code, limit = coding.batched_coupons(6, 3, 1, key=2), 2
    protocol = timing.until_decodable(code, limit)
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal(3)
    race = _clock.Race(timing.exponential(1.0), 6)
    start = race.start_clock(_simulate_clock.start_stream(0))

    def estimate(order):
        clock = start._replace(remaining=order.astype(jnp.float32) + 1)
        _, arrivals = protocol.wait(race, clock)
        values = jnp.asarray(blocks, jnp.float32)[arrivals.block]
        assert arrivals.share.shape == (3,)
        return jnp.mean(values * arrivals.share)

    first_two = [(i, j) for i in range(6) for j in range(6) if i != j]
    orders = []
    for i, j in first_two:
        others = [w for w in range(6) if w not in (i, j)]
        order = np.empty(6, int)
        order[[i, j, *others]] = np.arange(6)
        orders.append(order)
    found = jax.jit(jax.vmap(estimate))(jnp.asarray(orders))
    np.testing.assert_allclose(np.mean(found), blocks.mean(), atol=1e-6)


def test_with_a_limit_nobody_waits_longer_than_for_so_many():
    code = coding.batched_coupons(12, 12, 3)
    law = timing.pareto(1.5, 1.0)
    short, long = (
        timing.simulate_clock(timing.until_decodable(code, limit), law, 12, 200)
        for limit in (3, None)
    )
    assert short.time[-1] < long.time[-1]
    assert 12 in np.asarray(short.worker)  # nobody, for a block that has not arrived


def test_compressors_with_memory_compose_where_a_worker_has_one_block():
    feedback = jd.compression.error_feedback(jd.compression.scaled_sign())
    tx = optax.chain(jd.aggregate("w", compressor=feedback), optax.sgd(0.1))
    code = coding.batched_coupons(12, 12, 3)
    init, step = _simulation(code, tx)
    state = init(jnp.zeros(5))
    before = _loss(state.params, _batch(code))
    for _ in range(60):
        state, _ = step(state, _batch(code))
    assert _loss(state.params, _batch(code)) < 0.5 * before
    for other in (CODES[2], CODES[4]):
        init, _ = _simulation(other, tx)
        with pytest.raises(ValueError, match="`tx` keeps something for each worker"):
            init(jnp.zeros(5))


def test_the_loss_is_that_of_the_worker_also_where_it_sends_a_combination():
    def loss(params, batch):
        return _loss(params, batch), {"first": jnp.mean(batch[1])}

    code = CODES[4]
    init, step = jd.simulate_async(
        *(loss, optax.chain(jd.aggregate("w"), optax.sgd(0.0)), 4, "w"),
        protocol=timing.until_decodable(code),
        compute_time=timing.trace([[1.0], [2.0], [3.0], [9.0]]),
        has_aux=True,
    )
    batch = _batch(code)
    _, metrics = step(init(jnp.zeros(5)), batch)
    blocks = [np.mean(batch[1].reshape(4, -1)[row], axis=-1) for row in code.placement]
    losses = [
        np.mean(np.square(batch[1].reshape(4, -1)[row])) for row in code.placement
    ]
    np.testing.assert_allclose(metrics["loss"], np.mean(losses[:3]), rtol=1e-5)
    wanted = np.mean([np.mean(values) for values in blocks[:3]])
    np.testing.assert_allclose(metrics["first"], wanted, rtol=1e-5, atol=1e-6)


def test_what_cannot_run_is_refused():
    with pytest.raises(ValueError, match="`code` must have blocks of one size"):
        timing.until_decodable(coding.uncoded(4, 10))
    open_code = coding.batched_coupons(4, 12, 3, key=0, must_cover=False)
    assert not open_code.covers
    with pytest.raises(ValueError, match="`code` must cover every block"):
        timing.until_decodable(open_code)
    with pytest.raises(ValueError, match="`limit` must be None for the linear code"):
        timing.until_decodable(CODES[4], 2)
    with pytest.raises(ValueError, match="`num_workers` must be that of the code"):
        timing.simulate_clock(
            timing.until_decodable(CODES[0]), timing.constant(1.0), 5, 1
        )
