"""Stationary covariance: closed forms, published numbers, and limits."""

import numpy as np
import pytest

import jaxdist as jd
from benchmarks.papers import sampling

MODEL = sampling.draw_regression(100, 2, 0)
RATE = 0.5 / 100


def covariance(rate=RATE, **options):
    return jd.testing.stationary_covariance(
        MODEL.hessians, rate, gradients=MODEL.gradients, prior=np.eye(2), **options
    )


def test_full_gradients_have_a_closed_form():
    """C = L^-1 (1 - rate L / (2 (1 + m)))^-1 for every momentum."""
    precision = MODEL.precision
    for momentum in (0.0, 0.5, 0.9):
        shrunk = np.eye(2) - RATE * precision / (2 * (1 + momentum))
        wanted = np.linalg.inv(precision) @ np.linalg.inv(shrunk)
        np.testing.assert_allclose(covariance(momentum=momentum), wanted, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "trace"),
    [
        ({}, 2.8313e-2),
        ({"batch_size": 10}, 1.23334e-1),
        ({"batch_size": 10, "control_variate": True}, 3.0649e-2),
        ({"batch_size": 10, "temperature": 0}, 9.2685e-2),
        ({"rate": RATE / 5, "momentum": 0.9}, 2.2319e-2),
        ({"rate": RATE / 5, "momentum": 0.9, "batch_size": 10}, 1.77142e-1),
        ({"rate": RATE / 5, "batch_size": 10, "delay": 2}, 4.4743e-2),
        (
            {"rate": RATE / 5, "batch_size": 10, "delay": 5, "control_variate": True},
            3.7900e-2,
        ),
        (
            {"rate": RATE / 20, "batch_size": 10, "delay": 2, "momentum": 0.9},
            1.09323e-1,
        ),
    ],
)
def test_traces_of_a_regression_of_a_hundred_examples(options, trace):
    """Found by a solver of its own, and by simulation to a thousandth."""
    assert np.trace(covariance(**options)) == pytest.approx(trace, rel=2e-5)


def test_noise_of_a_sampler_and_of_batches_add_up():
    both, of_batches = (
        covariance(batch_size=10),
        covariance(batch_size=10, temperature=0),
    )
    alone = covariance(batch_size=10, control_variate=True)
    np.testing.assert_allclose(both, of_batches + alone, rtol=1e-9)


@pytest.mark.parametrize("delay", [0, 1, 5])
def test_variance_of_late_gaussian_chains(delay):
    """Curvature times rate 0.05, in units of the target's variance."""
    wanted = {0: 1.0256, 1: 1.0783, 5: 1.3216}[delay]
    found = jd.testing.stationary_covariance([[[1.0]]], 0.05, delay=delay)
    assert float(found[0, 0]) == pytest.approx(wanted, rel=1e-4)


def test_what_runs_away_is_refused():
    curvature = np.linalg.eigvalsh(MODEL.precision).max()
    for options in ({}, {"momentum": 0.9}, {"momentum": 0.5, "delay": 3}):
        limit = jd.sgmcmc.largest_learning_rate(curvature, **options)
        covariance(0.999 * limit, **options)
        with pytest.raises(ValueError, match="`learning_rate` is too large"):
            covariance(1.001 * limit, **options)
        with pytest.raises(ValueError, match="`learning_rate` is too large"):
            covariance(0.999 * limit, batch_size=1, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hessians": np.ones((3, 2, 1))}, r"`hessians` must have the shape \[N, d, d"),
        ({"hessians": np.ones((0, 2, 2))}, "`hessians` must have the shape"),
        ({"gradients": np.ones((2, 2))}, r"`gradients` must have the shape \(3, 2\)"),
        ({"prior": np.ones((3, 3))}, r"`prior` must have the shape \(2, 2\)"),
        ({"prior": np.full((2, 2), np.nan)}, "`prior` must be an array .* finite"),
    ],
)
def test_shapes_are_checked(options, said):
    hessians = options.pop("hessians", np.stack([np.eye(2)] * 3))
    with pytest.raises(ValueError, match=said):
        jd.testing.stationary_covariance(hessians, 0.1, **options)
