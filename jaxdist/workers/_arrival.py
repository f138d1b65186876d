"""Arrival: whose update this is, where only some of W workers meet."""

import dataclasses
from typing import Any, NamedTuple

import jax

from jaxdist import _checks, _collectives


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Arrival:
    """Whose update arrives: what ``tx.update`` gets as ``arrival=`` in simulated time.

    In simulated time K of W workers meet in an update, so that the index along the
    mapped axis is a place among K and says nothing about who it is.

    Attributes:
      worker: Index of the worker, in [0, W); int32, shape ().
      count: Mini-batches that this worker has finished, with this one; int32, shape ().
      num_workers: W, a static number.
      all_params: Parameters of all workers ``[W, ...]`` as they were before this
        update, where each has its own; else None.
      everybody: Whether all W meet, each once, in the order of their index; static.
    """

    worker: jax.Array
    count: jax.Array
    num_workers: int = dataclasses.field(metadata={"static": True})
    all_params: Any = None
    everybody: bool = dataclasses.field(default=False, metadata={"static": True})


class Identity(NamedTuple):
    """Who a worker is among how many."""

    index: jax.Array  # int32, shape ()
    num_workers: int


def identity_of(arrival: Arrival | None, axis_name: _collectives.AxisName) -> Identity:
    """Return who this worker is; without an arrival, by its place along the axis.

    Args:
      arrival: What ``tx.update`` got as ``arrival=``, or None.
      axis_name: Of the workers that meet.
    """
    if arrival is None:
        index = _collectives.axis_index(axis_name)
        return Identity(index, _collectives.axis_size(axis_name))
    _checks.instance("arrival", arrival, Arrival, "jaxdist.simulate_async gives")
    return Identity(arrival.worker, arrival.num_workers)


def meets_everybody(arrival: Arrival | None) -> bool:
    """Whether all W workers take part in every update, each in its own place."""
    return arrival is None or arrival.everybody
