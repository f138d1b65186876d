"""Draws of a law, for tests of its distribution."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import timing
from jaxdist.timing import _clock, _simulate_clock

NUM_DRAWS = 20_000


def draws_of(law, worker=0, key=0, number=NUM_DRAWS):
    """Return the first draws of one worker, as a simulation finds them."""
    race = _clock.Race(law, worker + 1)
    stream = _simulate_clock.start_stream(key)
    draws = jnp.arange(number, dtype=jnp.int32)
    workers = jnp.full_like(draws, worker)
    return np.asarray(jax.jit(race.draw_times)(stream, workers, draws), np.float64)


def assert_distribution(law, survival):
    """The share of draws beyond some times is what it should be, within 5 sigma."""
    draws = draws_of(law)
    for time in np.quantile(draws, [0.05, 0.3, 0.5, 0.8, 0.97]):
        chance = survival(time)
        error = 5 * np.sqrt(chance * (1 - chance) / draws.size)
        assert abs(np.mean(draws > time) - chance) < error


def assert_smallest(law, k, num_workers=8):
    """The formula for the k-th smallest agrees with draws."""
    rows = np.sort(draws_of(law).reshape(-1, num_workers), axis=1)[:, k - 1]
    error = 5 * rows.std() / np.sqrt(rows.size)
    assert abs(rows.mean() - law.smallest(k, num_workers)) < error
    protocol = timing.k_sync(k)
    wanted = timing.expected_step_time(protocol, num_workers, law)
    assert wanted == law.smallest(k, num_workers)
