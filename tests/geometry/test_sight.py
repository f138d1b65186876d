"""Sight: who is absent is infinitely far away, and no part of W."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

ROWS = jax.random.normal(jax.random.key(0), (5, 7))
WEIGHT = jnp.asarray([1.0, 0.0, 2.0, 1.0, 0.0])
SIGHTS = [jd.rules.Geometry, jd.rules.Radii, jd.rules.Norms]


@pytest.mark.parametrize("sees", SIGHTS)
def test_absent_workers_are_out_of_sight(sees):
    sight = sees.of(ROWS, ROWS[0])
    assert sight.num_present(5) == 5 and bool(sight.present.all())
    there = sight.with_weight(WEIGHT)
    assert int(there.num_present(5)) == 3
    assert there.num_present(5, jnp.float32).dtype == jnp.float32
    expected = [True, False, True, True, False, True]  # the anchor is always there
    np.testing.assert_array_equal(there.present, expected)
    np.testing.assert_array_equal(there.finite, expected)
    scores = there.or_inf(jnp.zeros(5))
    np.testing.assert_array_equal(jnp.isinf(scores), WEIGHT == 0)
    if hasattr(there, "squared_distances"):
        far = jnp.isinf(there.squared_distances)
        assert bool(far[..., 1].all()) and bool(far[..., 4].all())
        assert not bool(far[..., 0].all())


@pytest.mark.parametrize("sees", SIGHTS)
def test_what_rules_need_of_a_geometry_keeps_the_weights(sees):
    geometry = jd.rules.Geometry.of(ROWS, ROWS[0]).with_weight(WEIGHT)
    seen = sees.seen_in(geometry)
    np.testing.assert_array_equal(seen.present, geometry.present)
    assert sees.of(ROWS, ROWS[0]).with_weight(None).weight is None


def test_only_a_geometry_knows_mixtures_without_the_rows():
    mixture = jnp.asarray([1.0, 0.5, 1.0, 1.0, 1.0, 1.0])
    geometry = jd.rules.Geometry.of(ROWS, ROWS[0])
    for sees in SIGHTS:
        found = geometry.seen_again(sees, mixture).as_array()
        expected = sees.of(ROWS, ROWS[0], mixture).as_array()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="`sight` must know the rows"):
        jd.rules.Norms.of(ROWS).seen_again(jd.rules.Geometry, mixture)
