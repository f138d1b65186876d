"""Bounds where a leaf is long, or has many blocks."""

import pytest

import jaxdist as jd
from jaxdist import testing
from jaxdist.testing import _inputs, _run
from tests.testing import defects
from tests.testing.test_run import setting


def test_the_sentence_names_the_block():
    cut = defects.without_block(defects.rounding(), 4, 16)
    with pytest.raises(
        AssertionError, match=r"float32\[1920\] in 64 blocks .* block 4"
    ):
        testing.check_compressor(cut, properties=["long_leaves"])


@pytest.mark.parametrize("shape", [(61,), (9, 8), (9, 7), (4, 4, 4)])
def test_long_leaves_are_long_and_keep_their_last_axes(shape):
    long = setting(jd.compression.identity(), shape=shape).long
    assert long.shape[1:] == shape[1:]
    assert 1920 <= long.size <= 2 * 1920
    assert long.num_draws == 64  # nothing is random
    draws = [setting(jd.compression.qsgd(4), num_draws=n) for n in (1000, 20_000)]
    assert [one.long.num_draws for one in draws] == [500, 2000]


def test_last_leaves_end_with_what_is_not_zero():
    leaf = setting(jd.compression.identity()).long.leaf("last")
    assert (leaf[:-30] == 0).all() and (leaf[-30:] != 0).all()
    assert set(_inputs.LONG) <= set(_inputs.EXTREME)
    assert _run.LONG_BLOCKS * 30 == leaf.size


def test_what_is_not_promised_is_not_looked_at():
    neither = defects.promising(
        jd.compression.top_k(0.1), variance=lambda size: float("inf")
    )
    report = testing.check_compressor(neither, properties=["long_leaves"])
    assert not report.properties[0].promised
