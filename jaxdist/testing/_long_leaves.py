"""Long leaves: the same bounds where a leaf has thousands of elements, or 64 blocks.

What is cut off behind some length or number of blocks is not seen on short leaves. Half
of the long leaves are zero but for their last elements.
"""

import math
from collections.abc import Iterator

from jaxdist.testing import _inputs, _mean_test, _run, _unbiasedness, _variance


def error_means(setting: _run.Setting) -> Iterator[_mean_test.Means]:
    """Yield what must have the mean zero, or at most zero."""
    long = setting.long
    contract = setting.compressor.contract
    bounded = math.isfinite(long.variance(long.size))
    for blocks in (1, _run.LONG_BLOCKS) if contract.splittable else (1,):
        for kind in _inputs.LONG:
            if bounded:
                yield _variance.of_kind(long, kind, blocks)
            if contract.unbiased:
                yield _unbiasedness.of_kind(long, kind, blocks)
