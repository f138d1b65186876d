"""Binary: sums modulo 2 of many parts, each an integer with a bit for every part."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Reduced(NamedTuple):
    """A sum after elimination, and of which rows it is the sum."""

    row: int  # bits of parts
    rows: int  # bits of rows


def reduce_rows(rows: Iterable[int]) -> dict[int, Reduced]:
    """Return the reduced echelon form: rows by the one part that no other row has.

    A part that can be found from the rows at all stands alone in its reduced row.
    """
    found: dict[int, Reduced] = {}
    for index, row in enumerate(rows):
        used = 1 << index
        for pivot, other in found.items():
            if row & pivot:
                row, used = row ^ other.row, used ^ other.rows
        if not row:  # a sum of rows before it
            continue
        lowest = row & -row
        for pivot, other in found.items():
            if other.row & lowest:
                found[pivot] = Reduced(other.row ^ row, other.rows ^ used)
        found[lowest] = Reduced(row, used)
    return found


def independent_rows(rows: Iterable[int]) -> list[int]:
    """Return the rows that are no sum of rows before them."""
    kept: list[int] = []
    pivots: dict[int, int] = {}  # lowest bit of a row, and the row
    for row in rows:
        rest = row
        while rest and rest & -rest in pivots:
            rest ^= pivots[rest & -rest]
        if rest:
            pivots[rest & -rest] = rest
            kept.append(row)
    return kept


def places_of(bits: int) -> Iterator[int]:
    """Yield the places of all ones, from the lowest."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
