"""Uncoded: everyone is needed."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_everyone_is_needed():
    code = jd.coding.uncoded(5, 13)
    assert code.threshold == code.num_blocks == 5
    np.testing.assert_array_equal(np.sort(code.loads), [2, 2, 3, 3, 3])
    for missing in range(5):
        assert not code.decode(jnp.arange(5) != missing).covered
    assert code.finish_time(jnp.array([1.0, 5.0, 2.0, 3.0, 4.0])) == 5


def test_fewer_units_than_workers():
    with pytest.raises(ValueError, match="`num_units` must be an integer >= 5, got 4"):
        jd.coding.uncoded(5, 4)
