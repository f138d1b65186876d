"""Laws of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import timing
from tests.timing import draws


@pytest.mark.parametrize(
    "law",
    [
        lambda key, worker, draw: jnp.ones(2),
        lambda key, worker, draw: (1.0, 2.0),
        lambda key, worker, draw: draw > 0,
    ],
)
def test_what_returns_no_time_is_refused(law):
    with pytest.raises(ValueError, match="`law` must return one number of seconds"):
        timing.simulate_clock(timing.k_sync(1), law, 2, 1)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="`law` must be a function"):
        timing.simulate_clock(timing.k_sync(1), 3, 2, 1)


def test_no_time_never_ends_and_none_is_below_zero():
    law = timing.Law(lambda key, worker, draw: jnp.array([-1.0, jnp.nan, 2.0])[draw])
    np.testing.assert_array_equal(draws.draws_of(law, number=3), [0, np.inf, 2])


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_same_times_for_every_key_and_with_x64(impl, enabled):
    law = timing.mixture(0.3, timing.exponential(1.0), timing.pareto(2.0, 1.0))
    wanted = draws.draws_of(law, number=10)
    with jax.default_prng_impl(impl), jax.enable_x64(enabled):
        found = draws.draws_of(law, number=10)
    np.testing.assert_array_equal(found, wanted)
