"""No false alarms: every compressor that draws passes with every seed.

A bound that gives `excess` times the alarms that it states is seen to do so `seeds *
false_alarm * excess` times. Few seeds with a large `false_alarm` try it as hard as many
seeds with a small one.
"""

import math

import pytest

from jaxdist import testing
from tests.contract import table
from tests.testing import defects

_SEEDS, _FALSE_ALARM = 24, 0.5
_SHORT = (16,)  # where a draw costs least

# One block holds all of the short leaves here, so that two rows are one program.
TWICE = ["terngrad(20)", "drive(32)", "qsgd(3, 20)"]
ROWS = [
    *(row for row in table.COMPRESSORS if row.compressor.name not in TWICE),
    *(table.CompressorRow(compressor, 0) for compressor in defects.HONEST),
]
DRAWING = [row for row in ROWS if row.compressor.contract.stochastic]


def shape_of(row):
    """Return the shape on which the row is tried: matrices where it asks for them."""
    return _SHORT if len(row.shape) == 1 else row.shape


def statistics_of(row):
    """Return the properties that are judged by means of errors."""
    contract = row.compressor.contract
    size = math.prod(shape_of(row))
    promised = {
        "variance": math.isfinite(contract.variance(size)),
        "unbiasedness": contract.unbiased,
        "independence": not (row.shared_randomness or contract.linear),
    }
    return [name for name, is_promised in promised.items() if is_promised]


@pytest.mark.slow
@pytest.mark.parametrize("row", DRAWING, ids=table.names(DRAWING))
def test_compressors_pass_with_every_seed(row):
    compressor = row.compressor
    whole = defects.promising(compressor, compressor.name, splittable=False)
    for seed in range(_SEEDS):
        testing.check_compressor(
            whole,
            properties=statistics_of(row),
            shape=shape_of(row),
            num_draws=2000,
            false_alarm=_FALSE_ALARM,
            seed=seed,
        )


@pytest.mark.slow
@pytest.mark.parametrize("compressor", defects.HONEST, ids=str)
def test_honest_compressors_pass_where_leaves_are_narrow_or_long(compressor):
    whole = defects.promising(compressor, compressor.name, splittable=False)
    for seed in range(10):
        testing.check_compressor(
            whole,
            properties=["narrow_dtypes", "long_leaves"],
            shape=_SHORT,
            num_draws=1000,
            false_alarm=_FALSE_ALARM,
            seed=seed,
        )
