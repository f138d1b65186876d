"""What is sent: noted by the collectives themselves while a report is traced.

A transformation says who it is (`sender`) and, where a message holds several things,
what each of them is (`contents`). The bytes come from the collective.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxdist import _context


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
    axis: str = ""  # over which it travels, or several with commas between
    two_way: float = 0.0  # bytes with its compressor on the way back too; 0: unknown


class Message(NamedTuple):
    """One collective of a step."""

    route: str  # "psum", "gather", "scatter" or "permute"
    nbytes: float  # that one worker sends in it
    axis: str  # over which it travels, or several with commas between
    per_step: float = 1.0  # how often in a step
    bucket: int = 0  # of the leaves whose gradients it waits for


class Content(NamedTuple):
    """One of the things that a message holds."""

    leaf: str  # its path, or what else it is
    nbytes: float  # in the message
    shape: tuple[int, ...] = ()  # of the leaf
    compressor: str = "-"
    route: str = ""  # that of the collective when empty
    padding: float = 0.0  # share of the bytes that carry nothing, in [0, 1]
    dense: float = 0.0  # bytes that a dense all-reduce of the leaf would send
    two_way: float = 0.0  # bytes with its compressor on the way back too; 0: unknown


class Sent(NamedTuple):
    """What one transformation sends in a step."""

    rows: dict[tuple[str, str], Shipment]  # by leaf and axis
    messages: list[Message]  # in the order in which they are sent


Log = dict[object, Sent]


class _Sender(NamedTuple):
    """Which transformation is being traced."""

    source: object
    name: str


_NOBODY = _Sender(None, "-")


_log: contextvars.ContextVar[Log | None] = contextvars.ContextVar("log", default=None)
_step: contextvars.ContextVar[int | None] = contextvars.ContextVar("step", default=None)
_sender: contextvars.ContextVar[_Sender | None]
_sender = contextvars.ContextVar("sender", default=None)
_contents: contextvars.ContextVar[tuple[Content, ...]]
_contents = contextvars.ContextVar("contents", default=())
_share = contextvars.ContextVar("share", default=1.0)
_way = contextvars.ContextVar("way", default=1.0)
_bucket = contextvars.ContextVar("bucket", default=0)
_silent: contextvars.ContextVar[tuple[str, str] | None]
_silent = contextvars.ContextVar("silent", default=None)


@contextlib.contextmanager
def recording(step: int = 0) -> Iterator[Log]:
    """Collect what every step traced inside sends, as if it were this one."""
    log: Log = {}
    with _context.assigned(_log, log), _context.assigned(_step, step):
        yield log


def is_recording() -> bool:
    """Whether shipments are collected."""
    return _log.get() is not None


def recorded_step() -> int | None:
    """Return the step for which shipments are collected, or None."""
    return _step.get()


@contextlib.contextmanager
def sender(source: object, name: str) -> Iterator[None]:
    """Say which transformation sends what is sent inside.

    Args:
      source: What is the same for each trace of one transformation, and another for
        every other: some wrappers trace what they wrap more than once, and the last
        trace counts.
      name: How reports call it.
    """
    log = _log.get()
    if log is not None:
        log[source] = Sent({}, [])
    with _context.assigned(_sender, _Sender(source, name)):
        yield


def contents(items: Sequence[Content]) -> contextlib.AbstractContextManager[None]:
    """Say what the messages sent inside hold; bytes are shared out in proportion."""
    return _context.assigned(_contents, tuple(items))


def in_bucket(bucket: int) -> contextlib.AbstractContextManager[None]:
    """Say which leaves the messages sent inside wait for."""
    return _context.assigned(_bucket, bucket)


def every(period: int) -> contextlib.AbstractContextManager[None]:
    """Count what is sent inside as sent once in so many steps."""
    return _context.assigned(_share, _share.get() / period)


@contextlib.contextmanager
def one_way(share: float) -> Iterator[None]:
    """Count what is sent inside as one of several ways, of which a step takes one.

    Dense bytes are shared out too: with all ways together each leaf counts once.

    Args:
      share: Of the steps that take this way, in [0, 1]; 0 leaves it out.
    """
    log = _log.get() if share else None
    with _context.assigned(_log, log), _context.assigned(_share, _share.get() * share):
        with _context.assigned(_way, _way.get() * share):
            yield


def silence(
    name: str,
    instead: str = (
        "Chain it behind: optax.chain(jaxdist.per_worker(...), jaxdist.aggregate(...))"
    ),
) -> contextlib.AbstractContextManager[None]:
    """Let nothing travel inside of a transformation whose workers are each alone.

    Args:
      name: Whose inner transformation it is, as errors call it.
      instead: What to do where it would communicate.
    """
    return _context.assigned(_silent, (name, instead))


def once() -> contextlib.AbstractContextManager[None]:
    """Leave out what is sent once, before the first step, of a report of steps."""
    return _context.assigned(_log, None)


def note(route: str, nbytes: float, axis_name: str | tuple[str, ...]) -> None:
    """Note what one worker sends in a collective, if a report is being traced."""
    if (silent := _silent.get()) is not None:
        name, instead = silent
        raise ValueError(
            f"`inner` of {name} must not communicate: what all workers receive alike "
            f"would be kept by each as its own. {instead}."
        )
    log = _log.get()
    if log is None:
        return
    items = _contents.get() or (Content(f"({route})", nbytes),)
    total = sum(item.nbytes for item in items)
    source, name = _sender.get() or _NOBODY
    rows, messages = log.setdefault(source, Sent({}, []))
    axis = axis_name if isinstance(axis_name, str) else ",".join(axis_name)
    if nbytes:
        messages.append(Message(route, nbytes, axis, _share.get(), _bucket.get()))
    for item in items:
        if not nbytes and item.compressor == "-":
            continue  # a message of one worker to itself
        before = rows.get((item.leaf, axis)) or _empty_row(name, item, route, axis)
        share = _share.get() * nbytes * item.nbytes / (total or 1)
        rows[item.leaf, axis] = _with_bytes(before, item, share)


def _empty_row(name: str, item: Content, route: str, axis: str) -> Shipment:
    """Return the row of a leaf of which nothing was sent yet."""
    what = item.leaf, item.shape, item.compressor, item.route or route
    dense = _way.get() * item.dense
    two_way = _share.get() * item.two_way
    return Shipment(name, *what, 0.0, 0.0, dense, axis, two_way)


def _with_bytes(before: Shipment, item: Content, nbytes: float) -> Shipment:
    """Add bytes to the row of a leaf, which may travel in several messages."""
    return before._replace(
        nbytes=before.nbytes + nbytes, padding=before.padding + nbytes * item.padding
    )


def all_reduce_bytes(nbytes: float, num_workers: int) -> float:
    """Return what each worker sends to all-reduce a message of this size."""
    return 2 * (num_workers - 1) / num_workers * nbytes


def all_gather_bytes(nbytes: float, num_workers: int) -> float:
    """Return what each worker sends when it gives its message to all others."""
    return (num_workers - 1) * nbytes


def all_to_all_bytes(nbytes: float, num_workers: int) -> float:
    """Return what each worker sends of ``num_workers`` messages of this total size."""
    return (num_workers - 1) / num_workers * nbytes
