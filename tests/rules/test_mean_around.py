"""The mean of what is nearest to a centre, whatever the centre is."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.rules import _mean_around


def smallest(ordered, num_bad):
    del num_bad
    return ordered[0]


def smallest_present(values):
    return values.ordered[0]


def test_the_nearest_to_the_centre_are_averaged():
    rule = _mean_around.mean_around("mine", 1, smallest, smallest_present)
    rows = jnp.array([[5.0, 1.0], [1.0, 2.0], [3.0, jnp.nan]])
    np.testing.assert_array_equal(jax.jit(rule)(rows), [2.0, 1.5])
    absent = jnp.concatenate([rows, jnp.full((1, 2), 0.0)])
    weight = jnp.asarray([1.0, 1, 1, 0])
    np.testing.assert_array_equal(jax.jit(rule)(absent, weight=weight), [2.0, 1.5])
    assert rule.name == "mine" and rule.contract.num_byzantine(3) == 1


def test_with_more_that_are_not_finite_the_result_is_zero():
    rule = _mean_around.mean_around("mine", 1, smallest, smallest_present)
    rows = jnp.array([[5.0], [jnp.inf], [jnp.nan]])
    np.testing.assert_array_equal(rule.reduce(rows), [0])
