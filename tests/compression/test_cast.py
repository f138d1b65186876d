"""Cast rounds to nearest, saturates, and never widens."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_rounds_as_the_dtype_does(dtype):
    leaf = jnp.linspace(-3, 3, 101)
    seen, _ = harness.roundtrip(jd.compression.cast(dtype), leaf)
    np.testing.assert_array_equal(seen, leaf.astype(dtype).astype(jnp.float32))


def test_what_is_too_large_saturates_but_infinity_stays():
    leaf = jnp.array([1e30, -1e30, jnp.inf, -jnp.inf, jnp.nan])
    seen, _ = harness.roundtrip(jd.compression.cast(jnp.float16), leaf)
    np.testing.assert_array_equal(seen, [65504, -65504, np.inf, -np.inf, np.nan])


def test_a_leaf_that_is_as_narrow_travels_as_it_is():
    leaf = jnp.ones(10, jnp.float16)
    assert jd.payload_nbytes(jd.compression.cast(jnp.bfloat16), leaf) == 20
    payload, _ = jd.compression.cast(jnp.bfloat16).encode(leaf, (), None, 1)
    assert payload.dtype == jnp.float16


def test_only_the_exponents_of_float32_make_a_contraction():
    jd.compression.error_feedback(jd.compression.cast(jnp.bfloat16))
    with pytest.raises(ValueError, match=r"cast\(float16\) is no contraction"):
        jd.compression.error_feedback(jd.compression.cast(jnp.float16))


def test_one_byte_is_too_narrow_to_add_in():
    assert not jd.compression.cast(jnp.float8_e4m3fn).contract.linear
    assert jd.payload_nbytes(jd.compression.cast(jnp.float8_e4m3fn), jnp.ones(10)) == 10


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint16, bool])
def test_only_floats(dtype):
    with pytest.raises(
        ValueError, match="`dtype` must be a floating dtype such as jnp.bfloat16, got"
    ):
        jd.compression.cast(dtype)
