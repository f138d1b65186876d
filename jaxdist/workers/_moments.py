"""Moments: what an aggregation tells a transformation around it of W gradients.

Only the aggregation knows what arrives of each worker: what a compressor left of its
gradient, and how large the mean of all is before a rule or an optimizer changes it. It
notes both while a step is traced, and only where somebody asks.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import jax

from jaxdist import _collectives, _context


class Moments(NamedTuple):
    """Squared norms of W gradients, the same on all workers."""

    axis_name: _collectives.AxisName  # over which the aggregation is
    mean_square: jax.Array  # mean of the squared norms; float32 or wider, shape ()
    square_of_mean: jax.Array  # squared norm of the mean; likewise
    num_workers: jax.Array  # that count, int32, shape ()

    @property
    def numbers(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """All that is no name."""
        return self.mean_square, self.square_of_mean, self.num_workers


_asked: contextvars.ContextVar[list[Moments] | None]
_asked = contextvars.ContextVar("asked", default=None)


@contextlib.contextmanager
def asked_for() -> Iterator[list[Moments]]:
    """Collect the moments that the aggregations traced inside note."""
    noted: list[Moments] = []
    with _context.assigned(_asked, noted):
        yield noted


@contextlib.contextmanager
def asked_for_if(asked: bool) -> Iterator[list[Moments]]:
    """Collect moments where they are asked for, and nothing else."""
    if not asked:
        yield []
        return
    with asked_for() as noted:
        yield noted


def are_asked_for() -> bool:
    """Whether a transformation around wants to know."""
    return _asked.get() is not None


def note(moments: Moments) -> None:
    """Tell who asks."""
    noted = _asked.get()
    if noted is not None:
        noted.append(moments)
