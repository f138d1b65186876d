"""What each transformation sends: noted while a step is traced, for the report."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple


class Shipment(NamedTuple):
    """What one worker sends in one step for one leaf, or for the step as a whole."""

    transformation: str  # such as "aggregate('data')"
    leaf: str  # its path, or what else travels
    shape: tuple[int, ...]  # of the leaf
    compressor: str
    route: str
    nbytes: float  # bytes that one worker sends, padding included
    padding: float  # of these, the bytes that carry nothing
    dense: float  # bytes that a dense all-reduce of the leaf would send


Log = dict[tuple[object, str], Shipment]
_log: contextvars.ContextVar[Log | None] = contextvars.ContextVar("log", default=None)
_step: contextvars.ContextVar[int | None] = contextvars.ContextVar("step", default=None)


@contextlib.contextmanager
def recording(step: int = 0) -> Iterator[Log]:
    """Collect the shipments of every step traced inside, as if it were this one."""
    log: Log = {}
    log_token, step_token = _log.set(log), _step.set(step)
    try:
        yield log
    finally:
        _log.reset(log_token)
        _step.reset(step_token)


def recorded_step() -> int | None:
    """Return the step for which shipments are collected, or None."""
    return _step.get()


def record(source: object, shipment: Shipment) -> None:
    """Note a shipment, if anybody listens.

    Args:
      source: Whatever is the same for each trace of one transformation, and another
        for every other: some wrappers trace what they wrap more than once.
      shipment: What is sent.
    """
    log = _log.get()
    if log is not None:
        log[source, shipment.leaf] = shipment


def all_reduce_bytes(nbytes: float, num_workers: int) -> float:
    """Return what each worker sends to all-reduce a message of this size."""
    return 2 * (num_workers - 1) / num_workers * nbytes


def all_gather_bytes(nbytes: float, num_workers: int) -> float:
    """Return what each worker sends when it gives its message to all others."""
    return (num_workers - 1) * nbytes


def all_to_all_bytes(nbytes: float, num_workers: int) -> float:
    """Return what each worker sends of ``num_workers`` messages of this total size."""
    return (num_workers - 1) / num_workers * nbytes
