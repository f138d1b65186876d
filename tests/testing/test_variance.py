"""The bounds on the squared error: kept, and tight."""

import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def check(compressor, **options):
    return testing.check_compressor(compressor, properties=["variance"], **options)


def test_numbers_may_replace_the_contract():
    check(defects.bernoulli(0.25), variance=3.0)
    check(jd.compression.scaled_sign(), contraction=lambda size: 1 / size)
    with pytest.raises(AssertionError, match=r"above its bound 2.9 \(contraction -1.9"):
        check(defects.bernoulli(0.25), variance=2.9)
    with pytest.raises(AssertionError, match=r"above its bound 0.88.* worst of 1024"):
        check(jd.compression.top_k(0.1), contraction=0.12)
    with pytest.raises(AssertionError, match=r"bound 0.85 \(contraction 0.15\)"):
        check(jd.compression.top_k(0.1), variance=0.85)


def test_no_bound_is_no_promise():
    unbounded = defects.promising(
        jd.compression.top_k(0.1), variance=lambda size: float("inf")
    )
    assert not check(unbounded).properties[0].promised


def test_each_block_keeps_the_bound_of_its_own_size():
    """A bound that holds for the whole leaf only: a scale that blocks do not get."""
    whole = defects.promising(
        jd.compression.scaled_sign(), variance=lambda size: 0.5 if size < 61 else 1.0
    )
    with pytest.raises(AssertionError, match="in 4 blocks the squared error"):
        check(whole)


def test_blocks_of_zeros_stay_zero():
    noisy = defects.decoding(
        jd.compression.identity(), lambda x: x + x.max() / 100, "noisy"
    )
    lax = defects.promising(noisy, variance=lambda size: 10.0)
    with pytest.raises(AssertionError, match="a block of zeros does not stay zero"):
        check(lax)


def test_bounds_are_given_once():
    with pytest.raises(ValueError, match="give one of them"):
        check(jd.compression.top_k(0.1), variance=1.0, contraction=0.0)
    with pytest.raises(ValueError, match="`variance` must lie in"):
        check(jd.compression.top_k(0.1), variance="a lot")
