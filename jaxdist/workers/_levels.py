"""Levels: whether what one aggregation encloses aggregates over another axis."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

from jaxdist import _context


@dataclasses.dataclass
class Levels:
    """Whether an aggregation was met while something was traced."""

    is_skipped: bool  # whether aggregations leave updates as they are
    has_met: bool = False


_levels: contextvars.ContextVar[Levels | None]
_levels = contextvars.ContextVar("levels", default=None)


@contextlib.contextmanager
def note_aggregations(are_skipped: bool = False) -> Iterator[Levels]:
    """Say afterwards whether anything aggregates in what is traced inside.

    Args:
      are_skipped: Whether aggregations are to do nothing, so that only what is around
        them is traced.
    """
    levels = Levels(are_skipped)
    with _context.assigned(_levels, levels):
        yield levels


def is_skipped() -> bool:
    """Note an aggregation; return whether it is to leave updates as they are."""
    levels = _levels.get()
    if levels is None:
        return False
    levels.has_met = True
    return levels.is_skipped
