"""Linearity and alignment between workers."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def broken(compressor, name, match):
    with pytest.raises(AssertionError, match=match):
        testing.check_compressor(compressor, properties=[name])


def test_linear_compressors_draw_together():
    own = defects.keyed(
        jd.compression.random_k(0.3),
        lambda keys: jd.Keys(keys.own, keys.common),
        "own keys",
    )
    broken(own, "linearity", "The workers share `keys.common`, and not `keys.own`")


def test_signs_and_integers_have_no_mean():
    linear = {"linear": True}
    broken(
        defects.promising(jd.compression.scaled_sign(), **linear),
        "linearity",
        "has no mean",
    )
    squares = defects.decoding(jd.compression.identity(), jnp.square, "squares")
    broken(squares, "linearity", "decodes to what differs by up to")


def test_narrow_payloads_are_linear_up_to_their_rounding():
    testing.check_compressor(
        jd.compression.cast(jnp.bfloat16), properties=["linearity"]
    )


def test_own_choices_are_not_aligned():
    own = defects.promising(defects.bernoulli(), aligned=True)
    broken(own, "alignment", "must depend on `keys.common`, not on `keys.own`")
    shared = defects.promising(defects.bernoulli(worker_key="common"), aligned=True)
    testing.check_compressor(shared, properties=["alignment"])


@pytest.mark.parametrize("density", [0.1, 0.9])
def test_choices_by_value_are_not_aligned(density):
    largest = defects.promising(jd.compression.top_k(density), aligned=True)
    broken(largest, "alignment", "which elements are kept depends on their values")


@pytest.mark.parametrize(
    "compressor", [jd.compression.qsgd(2, None), jd.compression.qsgd(8)], ids=str
)
def test_elements_that_round_to_zero_are_kept(compressor):
    testing.check_compressor(compressor, properties=["alignment"])
