"""Forty kinds of defects, each of which breaks a promise that the kit must try."""

import contextlib

import jax
import pytest

from jaxdist import testing
from tests.testing import defects

PLANTED = [
    pytest.param(name, compressor, id=f"{name}-{compressor.name}")
    for name, compressors in defects.PLANTED.items()
    for compressor in compressors
]


def check(compressor, **options):
    return testing.check_compressor(compressor, **options)


@pytest.mark.parametrize(("name", "compressor"), PLANTED)
@pytest.mark.parametrize("x64", [False, True], ids=["x32", "x64"])
def test_a_planted_defect_is_found(name, compressor, x64):
    with jax.enable_x64(True) if x64 else contextlib.nullcontext():
        with pytest.raises(AssertionError, match=f"{compressor.name} breaks {name!r}"):
            check(compressor, properties=[name])


def test_there_are_many():
    assert len(PLANTED) + len(defects.BIASED) >= 60
