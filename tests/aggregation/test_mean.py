"""Mean: the one rule that trusts everybody."""

import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from tests.aggregation import golden


def test_golden_values():
    np.testing.assert_allclose(jd.mean()(golden.ROWS), golden.MEAN, rtol=1e-5)


def test_one_bad_worker_is_enough():
    assert not np.isfinite(jd.mean()(jnp.array([[1.0], [jnp.nan]]))).any()


def test_narrow_floats_are_added_in_float32():
    rows = jnp.full((1000, 1), 1.0, jnp.bfloat16)
    assert jd.mean()(rows).dtype == jnp.bfloat16
    np.testing.assert_array_equal(jd.mean()(rows), [1.0])
