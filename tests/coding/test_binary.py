"""Binary: elimination finds what can be found, and drops what adds nothing."""

import itertools

import numpy as np

from jaxdist.coding import _binary


def spanned(rows):
    """Return all sums of rows."""
    sums = {0}
    for row in rows:
        sums |= {total ^ row for total in sums}
    return sums


def test_reduced_rows_against_all_sums():
    rng = np.random.default_rng(0)
    for _ in range(100):
        rows = [int(row) for row in rng.integers(0, 64, 5)]
        reduced = _binary.reduce_rows(rows)
        for pivot, found in reduced.items():
            total = 0
            for row in _binary.places_of(found.rows):
                total ^= rows[row]
            assert total == found.row and found.row & pivot
        for pivot, other in itertools.permutations(reduced, 2):
            assert not reduced[other].row & pivot
        alone = {pivot for pivot, found in reduced.items() if found.row == pivot}
        assert alone == spanned(rows) & {1 << place for place in range(6)}
        kept = _binary.independent_rows(rows)
        assert len(kept) == len(reduced) and spanned(kept) == spanned(rows)


def test_places():
    assert list(_binary.places_of(0b10110)) == [1, 2, 4]
    assert not list(_binary.places_of(0))
