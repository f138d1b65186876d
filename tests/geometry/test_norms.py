"""Norms: lengths, of what is finite."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from tests.geometry import parts


def test_of_parts_they_are_those_of_the_whole():
    norms = parts.assert_sums_up(jd.rules.Norms)
    assert norms.squared_norms.shape == (6,)


def test_scores_of_who_is_not_finite_are_infinite():
    norms = jd.rules.Norms.of(
        jnp.asarray([[3.0, 4.0], [jnp.inf, 0], [jnp.nan, 1], [0, 1]])
    )
    np.testing.assert_array_equal(norms.finite, [True, False, False, True])
    scores = norms.or_inf(jnp.arange(4.0))
    np.testing.assert_array_equal(scores, [0, jnp.inf, jnp.inf, 3])


def test_what_is_too_long_to_be_squared_has_a_length():
    rows = jnp.asarray([[3e30, 4e30], [3.0, 4.0], [3e-18, 4e-18], [jnp.inf, 0]])
    halves = jd.rules.Norms.of(rows[:, :1]), jd.rules.Norms.of(rows[:, 1:])
    norms = jd.rules.Norms.from_array(halves[0].as_array() + halves[1].as_array())
    expected = np.array([5e30, 5, 5e-18, np.inf], np.float32)
    np.testing.assert_allclose(norms.lengths, expected, rtol=1e-6)
    np.testing.assert_array_equal(norms.finite, [True, True, True, False])
