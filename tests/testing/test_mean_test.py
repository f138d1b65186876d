"""The test of means: its inequality, its false alarms, its power."""

import numpy as np
import pytest

from jaxdist.testing import _mean_test

NUM_DRAWS = 1000
REPETITIONS = 4000


def alarms(samples, false_alarm, **kwargs):
    """Return for each column ``[n, m]`` whether it alone would alarm."""
    log = _mean_test.alarm_level(false_alarm, 1)
    found = []
    totals, squares = samples.sum(axis=0), np.sum(samples**2, axis=0)
    for total, square in zip(totals, squares, strict=True):
        means = _mean_test.Means(
            ["x"],
            total[None],
            square[None],
            np.zeros(1),
            len(samples),
            "some input",
            **kwargs,
        )
        found.append(_mean_test.worst_verdict(means, log).ratio > 1)
    return np.array(found)


def test_the_inequality_behind_it():
    x = np.linspace(-60, 60, 1_000_001)
    assert (np.exp(x - x**2 / 6) <= 1 + x + x**2 / 3 + 1e-15).all()


def test_the_constant_covers_every_ratio_of_square_and_variance():
    """With the levels 50^j, from one half of the expected square on."""
    ratios = np.geomspace(0.5, 50**6, 100_000)
    unit = 50.0 ** np.maximum(0, np.floor(np.log(ratios) / np.log(50)))
    bound = (ratios / 6 + 1 / 3) / np.sqrt(unit * ratios)
    bound += np.sqrt(unit / ratios) / 2
    assert bound.max() <= _mean_test._LOSS * (1 + 1e-9)
    assert bound[0] == pytest.approx(_mean_test._LOSS)


def centred(name, rng, shape):
    """Return samples with mean zero; the rarest event is the rarest allowed."""
    kurtosis = _mean_test.largest_kurtosis(NUM_DRAWS, _mean_test.alarm_level(0.05, 1))
    rare = 1 / kurtosis
    return {
        "normal": rng.standard_normal(shape),
        "rare": (rng.random(shape) < rare) - rare,
        "exponential": rng.exponential(size=shape) - 1,
        "sign": rng.choice([-1.0, 1.0], shape),
    }[name]


@pytest.mark.parametrize(
    ("name", "side"),
    [("normal", 1), ("sign", 1)]  # which are symmetric
    + [(name, side) for name in ("rare", "exponential") for side in (1, -1)],
)
def test_false_alarms_are_rarer_than_stated(name, side):
    rng = np.random.default_rng(0)
    samples = side * centred(name, rng, (NUM_DRAWS, REPETITIONS))
    assert alarms(samples, 0.05).mean() <= 0.05
    assert alarms(samples, 0.05, one_sided=True).mean() <= 0.05


@pytest.mark.parametrize("name", ["normal", "rare", "exponential", "sign"])
def test_a_mean_of_a_quarter_deviation_is_found(name):
    rng = np.random.default_rng(1)
    samples = centred(name, rng, (NUM_DRAWS, 200))
    shifted = samples + 0.3 * samples.std()
    assert alarms(shifted, 0.05).mean() > 0.99
    assert not alarms(-shifted, 0.05, one_sided=True).any()


def test_what_is_always_the_same_is_a_bias_unless_it_is_rounding():
    means = _mean_test.Means(
        ["a", "b", "c"],
        np.array([100.0, 0.0, -100.0]),
        np.array([10.0, 0.0, 10.0]),
        np.array([0.0, 0.0, 0.2]),
        1000,
        "some input",
    )
    verdict = _mean_test.worst_verdict(means, _mean_test.alarm_level(1e-6, 3))
    assert verdict.label == "a" and verdict.ratio > 1


def test_more_statistics_raise_the_bound_a_little():
    one, thousand = (_mean_test.alarm_level(1e-6, num) for num in (1, 1000))
    assert one < thousand < 1.5 * one
    assert _mean_test.largest_kurtosis(10_000, thousand) == pytest.approx(53, abs=1)
