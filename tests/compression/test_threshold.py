"""Thresholds: what passes, what fits, and what is counted."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

NORMAL = jnp.asarray(np.random.default_rng(0).standard_normal(10_000), jnp.float32)


def test_keeps_exactly_what_reaches_the_value():
    seen, state = harness.roundtrip(
        jd.compression.threshold(1.5, max_density=0.5), NORMAL
    )
    passes = np.abs(NORMAL) >= 1.5
    np.testing.assert_array_equal(seen, np.where(passes, NORMAL, 0))
    assert (state.sent, state.overflow) == (passes.sum(), 0)


def test_where_there_is_no_room_the_largest_travel_and_the_rest_is_counted():
    compressor = jd.compression.threshold(0.1, max_density=0.05, block_size=1000)
    seen, state = harness.roundtrip(compressor, NORMAL)
    np.testing.assert_array_equal(
        seen, harness.roundtrip(jd.compression.top_k(0.05, 1000), NORMAL)[0]
    )
    assert (state.sent, state.overflow) == (500, (np.abs(NORMAL) >= 0.1).sum() - 500)


def test_the_largest_of_each_block_always_travels():
    leaf = jnp.asarray([0.1, -0.2, 0.2, 0.0, 0.0, 0.0, 0.3, 0.1])
    seen, state = harness.roundtrip(
        jd.compression.threshold(9.0, max_density=0.5, block_size=4), leaf
    )
    np.testing.assert_array_equal(seen, jnp.where(jnp.arange(8) % 5 == 1, leaf, 0))
    assert (state.sent, state.overflow) == (2, 0)


def test_sample_of_everything_passes_its_share():
    """The quantile of a sample of 10 000 of 10 000 is off by a few standard errors."""
    compressor = jd.compression.threshold(density=0.05, max_density=0.2, sampled=1.0)
    _, state = harness.roundtrip(compressor, NORMAL, 0)
    assert abs(int(state.sent) - 500) < 6 * np.sqrt(500)
    assert state.overflow == 0


def test_error_feedback_remembers_what_has_no_room():
    compressor = jd.compression.error_feedback(
        jd.compression.threshold(0.1, max_density=0.05)
    )
    seen, state = harness.roundtrip(compressor, NORMAL)
    np.testing.assert_allclose(seen + state.residual, NORMAL, rtol=1e-6)
    assert state.inner_state.overflow > 0


def test_nan_passes_every_threshold():
    leaf = jnp.asarray([1.0, jnp.nan, 2.0, 5.0])
    seen, _ = harness.roundtrip(jd.compression.threshold(3.0, max_density=0.5), leaf)
    np.testing.assert_array_equal(seen, [0, np.nan, 0, 5])


def test_exactly_one_rule_is_given():
    for arguments in ({}, {"value": 1.0, "density": 0.1}):
        with pytest.raises(ValueError, match="Exactly one of `value` and `density`"):
            jd.compression.threshold(**arguments, max_density=0.5)


@pytest.mark.parametrize(
    ("name", "bad"),
    [("value", 0.0), ("density", 1.1), ("max_density", 0), ("sampled", 2)],
)
def test_arguments_have_ranges(name, bad):
    arguments = {"value": 1.0, "max_density": 0.5} | {name: bad}
    if name == "density":
        del arguments["value"]
    with pytest.raises(ValueError, match=f"`{name}` must lie in .*, got {bad}"):
        jd.compression.threshold(**arguments)
