"""Estimates: exact where there is nothing random, and covered otherwise."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects

LEAF = jnp.asarray(np.random.default_rng(0).standard_normal(40), jnp.float32)


def test_without_randomness_nothing_is_uncertain():
    contraction = testing.estimate_contraction(jd.compression.top_k(0.5), jnp.ones(8))
    assert contraction[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert contraction[3:] == (10_000, 0.99)
    variance = testing.estimate_variance(
        jd.compression.top_k(0.5), jnp.ones(8), blocks=2
    )
    assert variance.estimate == pytest.approx(0.5)
    bias = testing.estimate_bias(jd.compression.top_k(0.25), jnp.ones(8))
    assert bias.estimate == pytest.approx(np.sqrt(0.75))
    assert str(contraction) == "0.5 (0.5 to 0.5 with confidence 0.99, 10000 draws)"


def covered(estimate, truth, repetitions=200, **options):
    """Return in which share of repetitions the interval holds the truth."""
    found = [estimate(LEAF, seed=seed, **options) for seed in range(repetitions)]
    assert all(x.low <= x.estimate <= x.high for x in found)
    return np.mean([x.low <= truth <= x.high for x in found])


def test_intervals_of_the_variance_hold_it():
    """Each element is kept with probability 1/4: exactly 3 for every leaf."""
    compressor = defects.bernoulli(0.25)
    share = covered(
        lambda leaf, **options: testing.estimate_variance(compressor, leaf, **options),
        3.0,
        num_draws=500,
        confidence=0.9,
    )
    assert share == pytest.approx(0.9, abs=0.06)
    estimate = testing.estimate_contraction(compressor, LEAF)
    assert estimate.estimate == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("shrink", [0.0, 0.1])
def test_intervals_of_the_bias_hold_it(shrink):
    compressor = defects.decoding(
        defects.bernoulli(0.25), lambda x: x * jnp.asarray(1 - shrink, x.dtype), "x"
    )
    share = covered(
        lambda leaf, **options: testing.estimate_bias(compressor, leaf, **options),
        shrink,
        num_draws=500,
        confidence=0.9,
    )
    assert share >= 0.9


def test_the_bias_is_found_with_enough_draws():
    shrinks = defects.BIASED["shrinks_by_1_percent"]
    bias = testing.estimate_bias(shrinks, LEAF, num_draws=20_000)
    assert bias.low > 0.005
    assert bias.estimate == pytest.approx(0.01, abs=0.001)
    honest = testing.estimate_bias(jd.compression.qsgd(8), LEAF, num_draws=20_000)
    assert honest.low == 0 and honest.high < 0.002


@pytest.mark.parametrize(
    ("leaf", "options", "match"),
    [
        (jnp.zeros(3), {}, "`leaf` must be finite and not all zero"),
        (jnp.array([jnp.nan]), {}, "`leaf` must be finite"),
        (LEAF, {"num_draws": 10}, "`num_draws` must be an integer >= 200, got 10"),
        (LEAF, {"confidence": 1.0}, "`confidence` must lie in"),
        (LEAF, {"blocks": 0}, "`blocks` must be an integer >= 1"),
    ],
)
def test_arguments_have_ranges(leaf, options, match):
    with pytest.raises(ValueError, match=match):
        testing.estimate_variance(jd.compression.identity(), leaf, **options)
