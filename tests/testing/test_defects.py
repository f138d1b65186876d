"""Forty kinds of defects, each of which breaks a promise that the kit must try."""

import jax
import pytest

from jaxdist import testing
from tests.testing import defects

PLANTED = [
    pytest.param(name, compressor, id=f"{name}-{compressor.name}")
    for name, compressors in defects.PLANTED.items()
    for compressor in compressors
]
# Numbers of 64 bits change how a property is tried, and not what it finds.
FIRST = [
    pytest.param(name, compressors[0], id=f"{name}-{compressors[0].name}")
    for name, compressors in defects.PLANTED.items()
]


def check(compressor, **options):
    return testing.check_compressor(compressor, **options)


@pytest.mark.parametrize(("name", "compressor"), PLANTED)
def test_a_planted_defect_is_found(name, compressor):
    with pytest.raises(AssertionError, match=f"{compressor.name} breaks {name!r}"):
        check(compressor, properties=[name])


@pytest.mark.parametrize(("name", "compressor"), FIRST)
def test_a_planted_defect_is_found_with_64_bits(name, compressor):
    with jax.enable_x64(True):
        with pytest.raises(AssertionError, match=f"{compressor.name} breaks {name!r}"):
            check(compressor, properties=[name])


def test_there_are_many():
    assert len(PLANTED) + len(defects.BIASED) >= 60
