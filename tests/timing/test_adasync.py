"""AdaSync: K by the loss, at the ends of intervals."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import timing
from jaxdist.timing import _clock, _simulate_clock


def _numbers(protocol, losses, seconds=1.0, num_workers=8):
    """Return K after each of the losses, which come so many seconds apart."""
    race = _clock.Race(timing.constant(1.0), num_workers)
    clock = race.start_clock(_simulate_clock.start_stream(0))
    state = protocol.pace.start()
    found = []
    for loss in losses:
        clock = _clock.next_update(_clock.let_pass(clock, jnp.float32(seconds)))
        state = protocol.pace.follow(state, clock, jnp.float32(loss), num_workers)
        found.append(int(state.num_arrivals))
    return found


@pytest.mark.parametrize("ratio", [1.0, 2.0, 10.0, 1e3, 1e6])
def test_quadratic_rule_of_protocols_that_wait(ratio):
    """K^2 / (P - K) = K_0^2 / (P - K_0) times the ratio of the losses, rounded up."""
    protocol = timing.adasync(timing.k_async, 2, 1.0)
    wanted = ratio * 2**2 / (8 - 2)
    exact = max(np.roots([1.0, wanted, -8 * wanted]))
    (_, found) = _numbers(protocol, [ratio, 1.0])
    assert found == np.ceil(exact - 1e-5)


@pytest.mark.parametrize("kind", [timing.k_batch_sync, timing.k_batch_async])
def test_square_root_rule_of_batch_protocols(kind):
    protocol = timing.adasync(kind, 2, 1.0, range(1, 31))
    assert _numbers(protocol, [1.0, 0.25, 1 / 64, 1e-9, 4.0]) == [2, 4, 16, 30, 1]


def test_changes_at_the_end_of_an_interval_by_the_mean_of_its_losses():
    protocol = timing.adasync(timing.k_batch_sync, 1, 4.0)
    losses = [8.0, 2.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0]
    # The mean of the first four is 4: sqrt(8 / 4) rounds up to 2; then sqrt(8) to 3.
    assert _numbers(protocol, losses) == [1, 1, 1, 2, 2, 2, 2, 3]


@pytest.mark.parametrize("loss", [np.nan, np.inf, 0.0, -1.0])
def test_a_loss_that_says_nothing_changes_nothing(loss):
    protocol = timing.adasync(timing.k_batch_sync, 3, 1.0)
    assert _numbers(protocol, [8.0, loss])[-1] == 3


def test_rounds_up_to_a_choice():
    protocol = timing.adasync(timing.k_batch_sync, 4, 1.0, [3, 4, 8])
    assert _numbers(protocol, [1.0, 100.0, 0.4, 1e-6]) == [4, 3, 8, 8]


def test_choices_must_hold_the_first():
    with pytest.raises(ValueError, match=r"`choices` must hold `initial`, 2, got"):
        timing.adasync(timing.k_sync, 2, 1.0, [1, 4])


def test_choices_must_fit_the_workers():
    protocol = timing.adasync(timing.k_sync, 2, 1.0, [2, 9])
    with pytest.raises(ValueError, match=r"must lie in \[1, 8\].*got 9"):
        protocol.check(8)


@pytest.mark.parametrize("wrong", [timing.ringmaster, lambda k: timing.k_sync(k + 1)])
def test_what_takes_no_k_is_refused(wrong):
    with pytest.raises(ValueError, match="`protocol` must be one that takes K"):
        timing.adasync(wrong, 2, 1.0)
