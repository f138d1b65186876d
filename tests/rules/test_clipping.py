"""Static clipping: who is shortened, and that nobody's array changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_only_the_long_are_shortened():
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-30.0, 40.0]], np.float32)
    before = rows.copy()
    merged = jax.jit(jd.rules.clipping(2.5, then=jd.rules.mean()))(rows)
    expected = np.array([[1.5, 2], [0.3, 0.4], [0, 0], [-1.5, 2]]).mean(axis=0)
    np.testing.assert_allclose(merged, expected, rtol=1e-6)
    np.testing.assert_array_equal(rows, before)


def test_clipping_alone_tolerates_what_the_next_rule_does():
    rows = jnp.array([[1.0], [2.0], [jnp.nan], [4.0], [9.0]])
    assert np.isnan(jax.jit(jd.rules.clipping(5.0, then=jd.rules.mean()))(rows)).all()
    rule = jd.rules.clipping(5.0, then=jd.rules.trimmed_mean(1))
    np.testing.assert_allclose(jax.jit(rule)(rows), [3.0], rtol=1e-6)
    np.testing.assert_array_equal(jax.jit(rule)(rows.at[0].set(jnp.inf)), [0.0])


def test_a_rule_that_looks_at_distances_sees_the_clipped():
    """Unclipped, the last is far from all; clipped it is in their middle."""
    rows = jnp.array([[1.0, 0.1], [1.0, -0.1], [0.9, 0.2], [0.9, -0.2], [50.0, 0.0]])
    assert float(jax.jit(jd.rules.krum(1))(rows)[0]) == 1
    np.testing.assert_allclose(
        jax.jit(jd.rules.clipping(1.0, then=jd.rules.krum(1)))(rows), [1.0, 0.0]
    )


@pytest.mark.parametrize("radius", [0, -1.0, np.inf, np.nan])
def test_a_radius_is_positive(radius):
    with pytest.raises(ValueError, match=f"`radius` must lie .* got {radius}"):
        jd.rules.clipping(radius, then=jd.rules.mean())


def test_the_next_rule_is_a_rule():
    with pytest.raises(TypeError, match="`then` must be of type AggregationRule"):
        jd.rules.clipping(1.0, then="mean")
