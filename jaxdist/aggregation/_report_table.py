"""The table of a report: equal leaves in one row, a row for each compressor, units."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jaxdist import _traffic

_MOST = 40  # rows of leaves, which fit a page
_WORTH_IT = 10  # times fewer bytes, of which a report tells
_NUMBERS = 4  # columns that are aligned to the right
_HEADER = (
    *("transformation", "leaves", "shape", "compressor", "route"),
    *("sent", "padding", "dense", "ratio"),
)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def report_table(shipments: Sequence[_traffic.Shipment], num_devices: int) -> str:
    """Return the table of what was sent, with totals."""
    rows = [_leaf_cells(group) for group in _equal_leaves(shipments)]
    sums = _grouped(shipments, lambda shipment: shipment.compressor)
    # Where each has a row of its own, sums would say the same again.
    of_each = len(rows) > len(sums) > 1
    parts = [[_HEADER], rows]
    if of_each:
        parts.append([_sum_cells(group) for group in sums])
    totals = [("total", "", "", "", "", *_number_cells(shipments))]
    over = _grouped(shipments, lambda shipment: shipment.axis)
    if len(over) > 1 or num_devices > 1:
        totals += [
            (f"over {group[0].axis}", "", "", "", "", *_number_cells(group))
            for group in over
        ]
    parts.append(totals)
    table = aligned_table(parts)
    if num_devices > 1:
        table += f"\nof each of the {num_devices} devices of a worker"
    return table + _advice(shipments)


def _advice(shipments: Sequence[_traffic.Shipment]) -> str:
    """Say where most bytes would be saved by a compressed way back.

    To gather, each worker sends its payload to all others, or its part of the result
    as it is; with a way back it sends about two payloads.
    """
    one_way = [shipment for shipment in shipments if shipment.two_way]
    sent = sum(shipment.nbytes for shipment in one_way)
    two_way = sum(shipment.two_way for shipment in one_way)
    total = sum(shipment.nbytes for shipment in shipments)
    if sent < _WORTH_IT * two_way or sent < total / 2:
        return ""
    names = sorted({shipment.compressor for shipment in one_way})
    return (
        f"\n`downlink` of {' and '.join(names)} too would send {shown_bytes(two_way)} "
        f"instead of {shown_bytes(sent)}"
    )


def _grouped(
    shipments: Iterable[_traffic.Shipment], key: Callable[[_traffic.Shipment], Any]
) -> list[list[_traffic.Shipment]]:
    """Return those that share a key together, in the order of the first of each."""
    groups = defaultdict(list)
    for shipment in shipments:
        groups[key(shipment)].append(shipment)
    return list(groups.values())


def _equal_leaves(
    shipments: Sequence[_traffic.Shipment],
) -> list[list[_traffic.Shipment]]:
    """Return the leaves of one row: of one name but for numbers, or just alike."""

    def what(shipment):
        return shipment._replace(leaf="")

    by_name = _grouped(
        shipments, lambda shipment: (what(shipment), re.sub(r"\d+", "*", shipment.leaf))
    )
    return by_name if len(by_name) <= _MOST else _grouped(shipments, what)


def _common_name(names: Sequence[str]) -> str:
    """Return a name with a star for each number that differs, or the first and more."""
    if len(names) == 1:
        return names[0]
    pieces = [re.split(r"(\d+)", name) for name in names]
    if len({re.sub(r"\d+", "*", name) for name in names}) > 1:
        return f"{names[0]} and {len(names) - 1} more"
    same = [len(set(piece)) == 1 for piece in zip(*pieces, strict=True)]
    pairs = zip(pieces[0], same, strict=True)
    joined = "".join(piece if is_same else "*" for piece, is_same in pairs)
    return f"{joined} ({len(names)})"


def _leaf_cells(group: Sequence[_traffic.Shipment]) -> tuple[str, ...]:
    """Return the row of equal leaves."""
    first = group[0]
    shape = "x".join(map(str, first.shape)) or "scalar"
    name = _common_name([shipment.leaf for shipment in group])
    what = first.transformation, name, shape, first.compressor, first.route
    return *what, *_number_cells(group)


def _sum_cells(group: Sequence[_traffic.Shipment]) -> tuple[str, ...]:
    """Return the row of all leaves of one compressor."""
    number = f"{len(group)} in all"
    return "", number, "", group[0].compressor, "", *_number_cells(group)


def _number_cells(group: Iterable[_traffic.Shipment]) -> tuple[str, ...]:
    """Return the sums of a few rows, and their ratio."""
    nbytes, padding, dense = (
        sum(getattr(shipment, field) for shipment in group)
        for field in ("nbytes", "padding", "dense")
    )
    ratio = f"{byte_ratio(dense, nbytes):.1f}x" if dense else "-"
    return *(shown_bytes(number) for number in (nbytes, padding, dense)), ratio


def byte_ratio(dense: float, nbytes: float) -> float:
    """Return how many times fewer bytes travel."""
    return dense / nbytes if nbytes else float("inf") if dense else 1.0


def shown_bytes(number: float) -> str:
    """Return a number of bytes with three digits and a unit, powers of a thousand."""
    unit, *larger = _UNITS
    while number >= 999.5 and larger:
        number, unit = number / 1000, larger.pop(0)
    digits = f"{number:.0f}" if unit == "B" or number >= 100 else f"{number:.3g}"
    return f"{digits} {unit}"


def aligned_table(
    parts: Sequence[Sequence[tuple[str, ...]]], numbers: int = _NUMBERS
) -> str:
    """Align the cells, the last few to the right, with a rule between the parts."""
    columns = list(zip(*[row for part in parts for row in part], strict=True))
    widths = [max(map(len, column)) for column in columns]

    def line(row):
        cells = [
            cell.rjust(width) if i >= len(widths) - numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return f"\n{rule}\n".join("\n".join(map(line, part)) for part in parts if part)
