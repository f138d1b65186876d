"""Batches have a part for each worker, or say which leaf has none."""

import numpy as np
import pytest

from jaxdist.recipes import _batches


@pytest.mark.parametrize("before", [0, 1])
def test_parts_follow_each_other(before):
    batch = {"x": np.arange(24).reshape((2, 12) if before else (12, 2))}
    found = _batches.split_batch(batch, 3, before)["x"]
    assert found.shape == ((2, 3, 4) if before else (3, 4, 2))
    np.testing.assert_array_equal(found.ravel(), np.arange(24))


@pytest.mark.parametrize("shape", [(), (7,), (7, 3)])
def test_what_cannot_be_cut_is_named(shape):
    with pytest.raises(ValueError, match="axis that 3 workers divide, but leaf 'x'"):
        _batches.split_batch({"x": np.zeros(shape)}, 3)


@pytest.mark.parametrize("shape", [(6,), (2, 7)])
def test_a_round_has_one_more_axis(shape):
    with pytest.raises(ValueError, match=r"of a local round must be \[H, b, ...\]"):
        _batches.split_batch({"x": np.zeros(shape)}, 3, 1)
