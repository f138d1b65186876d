"""Batched coupons: how many workers it takes, and what that saves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_batches():
    code = jd.coding.batched_coupons(40, 23, 5)
    np.testing.assert_array_equal(code.block_sizes, [5, 5, 5, 5, 3])
    np.testing.assert_array_equal(code.placement.sum(axis=1), 1)
    assert code.threshold is None


def test_one_batch_is_that_of_the_fastest_worker():
    code = jd.coding.batched_coupons(4, 9, 9)
    assert code.num_blocks == 1
    assert code.finish_time(jnp.array([4.0, 2.0, 3.0, 9.0])) == 2
    assert jd.coding.batched_coupons(1, 1, 1).covers


def test_batches_are_drawn_evenly():
    """Each of five batches in 100 x 50 draws: within five standard deviations."""
    codes = (jd.coding.batched_coupons(50, 50, 10, key, False) for key in range(100))
    holders = sum(code.placement.sum(axis=0) for code in codes)
    assert holders.sum() == 5000
    np.testing.assert_allclose(holders, 1000, atol=5 * np.sqrt(5000 * 0.2 * 0.8))


def test_placements_that_do_not_cover_are_refused():
    with pytest.raises(ValueError) as caught:
        jd.coding.batched_coupons(4, 8, 2)
    said = str(caught.value)
    assert "`key` must draw a placement that covers all 4 blocks" in said
    assert "got 0, which covers" in said
    assert "probability 0.0938" in said  # 4! / 4^4
    assert "must_cover=False" in said
    code = jd.coding.batched_coupons(4, 8, 2, must_cover=False)
    assert not code.covers and code.finish_time(jnp.ones(4)) == np.inf


def test_too_few_workers_never_cover():
    with pytest.raises(ValueError, match="cover with probability 0: try"):
        jd.coding.batched_coupons(3, 8, 2)


def test_placements_cover_as_often_as_they_should():
    """300 placements of W = 8, B = 4: within four standard deviations."""
    chance = jd.coding.cover_probability(8, 4)
    codes = (jd.coding.batched_coupons(8, 8, 2, key, False) for key in range(300))
    share = np.mean([code.covers for code in codes])
    assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / 300)
    assert 1 - chance == pytest.approx(0.377, abs=0.001)


@functools.cache
def arrivals(code, num_rounds, seed=0):
    """Return how many workers have arrived when each round can be decoded."""
    rng = np.random.default_rng(seed)
    times = rng.random((num_rounds, code.num_workers), np.float32)
    moments = jax.jit(jax.vmap(code.finish_time))(times)
    return np.sum(times <= np.asarray(moments)[:, None], axis=1)


@pytest.mark.parametrize(
    ("workers", "load", "mean"), [(50, 10, 11.4167), (100, 10, 29.2897)]
)
def test_arrivals_on_average(workers, load, mean):
    """Mean over 200 placements with 50 rounds each: within five standard errors."""
    counts = np.array(
        [
            arrivals(jd.coding.batched_coupons(workers, workers, load, key), 50, key)
            for key in range(200)
        ]
    ).mean(axis=1)
    error = counts.std() / np.sqrt(len(counts))
    # The formula knows no last worker; with so many it is off by less than this.
    assert abs(counts.mean() - mean) < 5 * error + 0.03
    blocks = -(-workers // load)
    assert jd.coding.expected_arrivals(blocks) == pytest.approx(mean, abs=1e-4)


# (c, W = m, load): seconds of an uncoded, a cyclic and a coupon round, of simulations
# elsewhere. A worker takes 0.05 and, on average, 1 second for each unit in its load;
# the server takes c seconds for each message.
COSTS = {
    (0, 50): (4.53, 17.21, 3.19),
    (1, 50): (50.07, 41.70, 12.11),
    (0, 100): (5.24, 24.22, 4.06),
    (1, 100): (100.06, 91.60, 29.72),
    (10, 50): (500.07, 410.70, 114.64),
}
LOAD, NUM_ROUNDS = 10, 400


def reception_time(times, num_messages, cost):
    """Return when a server has read so many messages, one after the other."""
    moment = 0.0
    for time in np.sort(times)[:num_messages]:
        moment = max(moment, time) + cost
    return moment


def round_time(codes, cost):
    """Return the mean seconds of a round over codes of the same kind."""
    rng = np.random.default_rng(0)
    rounds = []
    for code in codes:
        load = code.loads.max()
        shape = (NUM_ROUNDS // len(codes), code.num_workers)
        times = (load * (0.05 + rng.exponential(size=shape))).astype(np.float32)
        moments = jax.jit(jax.vmap(code.finish_time))(times)
        needed = np.sum(times <= np.asarray(moments)[:, None], axis=1)
        rounds += [
            reception_time(row, number, cost)
            for row, number in zip(times, needed, strict=True)
        ]
    return np.mean(rounds)


def cyclic_threshold(num_workers):
    """Return a code with the times of a cyclic one, too large to be decoded."""
    steps = np.arange(num_workers)
    held = (steps - steps[:, None]) % num_workers < LOAD
    sizes = np.ones(num_workers, int)
    table = held / LOAD
    threshold = num_workers - LOAD + 1
    return jd.coding.Code("cyclic", held, sizes, table, threshold)


@pytest.mark.parametrize(("cost", "workers"), COSTS)
def test_seconds_of_a_round(cost, workers):
    """400 rounds over 40 placements: within 6 %, about three standard errors."""
    coupons = [
        jd.coding.batched_coupons(workers, workers, LOAD, key) for key in range(40)
    ]
    found = (
        round_time([jd.coding.uncoded(workers, workers)], cost),
        round_time([cyclic_threshold(workers)], cost),
        round_time(coupons, cost),
    )
    np.testing.assert_allclose(found, COSTS[cost, workers], rtol=0.06)
    saved = 1 - found[2] / found[0]
    if cost:
        assert 0.68 < saved < 0.79
    else:
        assert 0.15 < saved < 0.38
