"""Formulas for the age of gradients."""

import pytest

from jaxdist import timing


@pytest.mark.parametrize(
    ("protocol", "wanted"),
    [
        (timing.k_sync(3), 0.0),
        (timing.k_batch_sync(9), 0.0),
        (timing.k_async(1), 7.0),
        (timing.k_async(4), 1.0),
        (timing.k_async(8), 0.0),
        (timing.k_batch_async(4), 1.75),
        (timing.k_batch_async(16), 7 / 16),
    ],
    ids=repr,
)
def test_figures_of_eight_workers(protocol, wanted):
    assert timing.expected_staleness(protocol, 8) == pytest.approx(wanted)


def test_protocols_must_fit():
    with pytest.raises(ValueError, match=r"`k` of k_async\(9\) must lie in \[1, 8\]"):
        timing.expected_staleness(timing.k_async(9), 8)
