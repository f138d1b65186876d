"""Diversity metrics: their limits, and where they are found."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.diagnostics import _diversity_metrics, _running_moments

METRICS = jd.DiversityMetrics(jnp.float32(6.0), jnp.float32(2.0), jnp.int32(4))


def test_numbers_are_those_of_the_formulas():
    assert METRICS.gain == pytest.approx((6 + 2) / (6 / 4 + 2))
    assert METRICS.diversity == pytest.approx(METRICS.gain / 4)
    assert METRICS.noise_scale == 3
    assert METRICS.gain_of(1) == 1
    assert METRICS.gain_of(jnp.asarray(10**6)) == pytest.approx(4, rel=1e-4)
    assert METRICS.batch_size(8) == 25
    assert METRICS.batch_size(8, share=0.5) == 12.5


@pytest.mark.parametrize(
    ("spread", "signal", "gain", "noise"),
    [(0.0, 0.0, 1, 0), (3.0, 0.0, 4, np.inf), (0.0, 2.0, 1, 0)],
)
def test_limits_are_no_nan(spread, signal, gain, noise):
    seen = jd.DiversityMetrics(jnp.float32(spread), jnp.float32(signal), jnp.int32(4))
    assert (seen.gain, seen.noise_scale) == (gain, noise)


def test_a_signal_below_zero_is_none():
    numbers = map(jnp.float32, (0.2, -0.1, 0.1))
    seen = _diversity_metrics.metrics_of(
        _running_moments.RunningMoments(*numbers, jnp.int32(4))
    )
    assert (seen.spread, seen.signal, seen.gain) == (2, 0, 4)


def test_before_the_first_step_nothing_is_known():
    tx = jd.measure_diversity("data", jd.aggregate("data"))
    state = optax.chain(tx, optax.adam(0.1)).init(jnp.ones(3))
    seen = jd.diversity_metrics(state)
    assert (seen.gain, seen.diversity, seen.noise_scale, seen.num_workers) == (
        *(1, 1, 0, 0),
    )


@pytest.mark.parametrize("number", [0, 2])
def test_there_must_be_one_state(number):
    state = [_running_moments.start_moments()] * number
    with pytest.raises(ValueError, match=f"`state` must hold one.*got {number}"):
        jd.diversity_metrics(state)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"local_batch": 0}, "`local_batch` must be .* got 0"),
        ({"local_batch": 1, "share": 0.0}, "`share` must lie in .* got 0.0"),
    ],
)
def test_bad_batch_sizes(kwargs, said):
    with pytest.raises(ValueError, match=said):
        METRICS.batch_size(**kwargs)
