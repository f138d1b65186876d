"""Best subset: how many are too many."""

import jax.numpy as jnp
import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    "factory", [jd.rules.minimum_diameter, jd.rules.minimum_variance, jd.rules.smea]
)
def test_too_many_are_counted(factory):
    rows = jnp.zeros((64, 1))
    with pytest.raises(ValueError, match=r"12 of 64 workers leaves 3284214703056 sub"):
        factory(12)(rows)
