"""Promises where leaves have two bytes per element."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from jaxdist.testing import _run
from tests.testing import defects
from tests.testing.test_run import setting


def check(compressor, **options):
    return testing.check_compressor(compressor, properties=["narrow_dtypes"], **options)


def test_the_sentence_names_dtype_and_decoding():
    less = defects.encoding(
        defects.bernoulli(), defects.scaled(0.9, defects.is_dtype(jnp.float16)), "less"
    )
    with pytest.raises(
        AssertionError, match=r"a normal leaf of float16\[61\] decoded to float32 the"
    ):
        check(less)


def test_what_travels_narrow_may_be_rounded():
    for compressor in (jd.compression.identity(), jd.compression.random_k(0.1)):
        check(compressor)


def test_narrow_leaves_are_decoded_twice():
    chosen = setting(jd.compression.cast(jnp.float16))
    leaves = np.asarray(chosen.leaves("normal", 3, jnp.bfloat16))
    keys = _run.many_steps(chosen.keys(), 3)
    seen = _run.seen_narrow(chosen.compressor, leaves, keys)
    assert seen.shape == (3, 2, 61) and seen.dtype == np.float32
    np.testing.assert_array_equal(seen[:, 1], leaves.astype(np.float32))
