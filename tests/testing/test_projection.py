"""Projections are orthogonal to what they drop."""

import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def check(compressor, **options):
    return testing.check_compressor(compressor, properties=["projection"], **options)


@pytest.mark.parametrize(
    ("compressor", "shape"),
    [
        (jd.compression.dct_top_k(0.1, 40), (61,)),
        (jd.compression.dct_top_k(0.1, transform_size=8, dimensions=2), (9, 7)),
    ],
    ids=str,
)
def test_what_a_padding_adds_is_no_defect(compressor, shape):
    assert compressor.contract.projection
    check(compressor, shape=shape)


def test_the_sentence_says_how_much_is_wrong():
    more = defects.promising(
        defects.decoding(jd.compression.top_k(0.1), defects.scaled(0.99), "less"),
        projection=True,
    )
    with pytest.raises(AssertionError, match="inner product of what arrives and what"):
        check(more)
