"""The routes: by which collective payloads travel, what that costs, what it can carry.

=========  ==================================================  ======================
route      how                                                 bytes per worker
=========  ==================================================  ======================
psum       all-reduce the payloads, decode the mean            2(W-1)/W · b
gather     all-gather the payloads, decode W, apply the rule   (W-1) · b
scatter    all-to-all of W blocks, decode, rule on my part,    (W-1)/W · (b + c)
           encode again, all-gather
=========  ==================================================  ======================

The leaves of one route travel as one message of bytes; a sum needs numbers, so the
route psum reduces arrays, each in place. Numbers are added in float32 or wider, and
travel so: narrow payloads save bytes on the other routes only, and an all-to-all with
an all-gather of the same dtype sends as much as an all-reduce.

XLA merges the all-reduces of all leaves. Concatenated into one buffer first, or with a
leading axis of 1, a dense mean took 1.4 times as long as a bare `pmean`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _workers
from jaxdist.compression import _compressor

PACKED = 2**14  # elements of an array that is cheaper to copy than to send alone

Travel = Callable[[Sequence[jax.Array], _workers.Workers], list[jax.Array]]


@dataclasses.dataclass(frozen=True)
class Route:
    """One way for payloads to travel."""

    name: str
    travel: Travel  # arrays [blocks, ...] -> [W, ...] of all senders, or [1, ...] means
    nbytes_sent: Callable[[float, int], float]  # (bytes of the message, W) -> bytes
    order: int  # of messages, and of preference where receivers remember
    averages: bool = False  # what arrives is a mean already
    has_parts: bool = False  # each worker gets its part of a leaf

    def __repr__(self):
        return self.name

    def blocks_of(self, num_workers: int) -> int:
        """Return into how many parts a leaf is cut before it is encoded."""
        return num_workers if self.has_parts else 1

    def wire_nbytes(self, array: jax.ShapeDtypeStruct) -> int:
        """Return the bytes that an array takes in the message."""
        if self.averages:
            return _collectives.psum_nbytes(array)
        return _tree.leaf_nbytes(array)

    def obstacle(
        self, compressor: _compressor.Compressor, averages: bool, has_downlink: bool
    ) -> str | None:
        """Say why the route cannot carry a leaf, or return None.

        Args:
          compressor: Of the leaf.
          averages: Whether receivers need no more than the mean of all payloads.
          has_downlink: Whether there is something to compress on the way back.
        """
        if self.has_parts and not compressor.contract.splittable:
            return "it cuts each leaf in parts, and this compressor does not split."
        if self.averages and not averages:
            return "it adds payloads up on their way, which only the mean allows."
        if self.averages and not _adds_up(compressor):
            return "it adds payloads up on their way, and these do not add up."
        if has_downlink and not self.has_parts:
            return "only scatter has a way back to compress."
        return None


def _adds_up(compressor: _compressor.Compressor) -> bool:
    """Whether payloads, or those of a dialogue's rounds, may be added on their way."""
    return compressor.contract.linear or compressor.dialogue is not None


def _reduce_arrays(
    arrays: Sequence[jax.Array], workers: _workers.Workers
) -> list[jax.Array]:
    """Return the means over the workers, ``[1, ...]`` like the arrays."""
    return reduce_packed(arrays, workers, PACKED)


def reduce_packed(
    arrays: Sequence[jax.Array], workers: _workers.Workers, packed: float = math.inf
) -> list[jax.Array]:
    """Return the means over the workers, ``[1, ...]`` like the arrays.

    Arrays of up to ``packed`` elements travel as one for each dtype and sharding: on
    CPU, XLA starts a message for every array of an all-reduce.
    """
    groups: dict[object, list[int]] = {}
    for i, x in enumerate(arrays):
        kind = (x.dtype, _collectives.other_axes(x, workers.axis_name))
        groups.setdefault(kind if x.size <= packed else i, []).append(i)
    messages = [_joined_arrays([arrays[i] for i in group]) for group in groups.values()]
    means = list(arrays)
    reduced = _means_over_workers(messages, workers)
    for group, mean in zip(groups.values(), reduced, strict=True):
        parts = _tree.split_flat(mean.reshape(-1), (arrays[i].size for i in group))
        for i, part in zip(group, parts, strict=True):
            means[i] = part.reshape(arrays[i].shape)
    return means


def _joined_arrays(arrays):
    """Return one array ``[1, n]``, or the only one as it is, to be reduced in place."""
    if len(arrays) == 1:
        return arrays[0]
    return jnp.concatenate([array.reshape(1, -1) for array in arrays], axis=1)


def _means_over_workers(arrays, workers):
    """Return the means over the workers, ``[1, ...]`` like the arrays."""
    # Not only the sum must be wide, but also the mean: the leaf's dtype may be wider.
    own = [x[0].astype(_collectives.psum_dtype(x.dtype)) for x in arrays]
    if workers.weight is None:
        sums = _collectives.psum(own, workers.axis_name)
        return [(total / workers.number)[None] for total in sums]
    shares = [x * workers.share_of(workers.index, x.dtype) for x in own]
    return [mean[None] for mean in _collectives.psum(shares, workers.axis_name)]


def _gather_arrays(
    arrays: Sequence[jax.Array], workers: _workers.Workers
) -> list[jax.Array]:
    return _collectives.gather_arrays(arrays, workers.axis_name)


def _exchange_blocks(
    arrays: Sequence[jax.Array], workers: _workers.Workers
) -> list[jax.Array]:
    return _collectives.exchange_arrays(arrays, workers.axis_name)


PSUM = Route("psum", _reduce_arrays, _traffic.all_reduce_bytes, 0, averages=True)
SCATTER = Route(
    "scatter", _exchange_blocks, _traffic.all_to_all_bytes, 2, has_parts=True
)
GATHER = Route("gather", _gather_arrays, _traffic.all_gather_bytes, 1)
ROUTES = {route.name: route for route in (PSUM, GATHER, SCATTER)}
