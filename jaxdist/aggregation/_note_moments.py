"""Note moments: how large the gradients are, and how large their mean is.

Each worker decodes what it sends itself, so that the spread holds the noise of its
compressor, as the step does. Where a rule looks at all rows, they tell both; where only
a mean is needed, one number travels with the gradient, in the same all-reduce.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _merge, _transport
from jaxdist.workers import _moments


def check_moments(num_stages: int) -> None:
    """Raise where moments are asked for that would not leave a branch."""
    if _moments.are_asked_for() and num_stages > 1:
        raise ValueError(
            "`compressor` changes with the step, so that the gradients are aggregated "
            "in branches, of which measure_diversity sees none. Measure with a "
            "compressor that stays."
        )


def note_moments(
    outgoing: Sequence[_transport.Outgoing],
    merged: _merge.Merged,
    extent: _merge.Extent,
) -> None:
    """Tell a transformation around, if one asks.

    Args:
      outgoing: All leaves as this worker sends them.
      merged: What the rule made of those of all workers.
      extent: Over what the gradient is spread.
    """
    if not _moments.are_asked_for():
        return
    workers = extent.workers
    if merged.parts:
        mean_square, square_of_mean = _moments_of_rows(merged.parts, extent)
    else:
        mean_square = _mean_of_own_squares(outgoing, extent)
        square_of_mean = _square_of_merged(outgoing, merged.leaves, extent)
    number = jnp.asarray(workers.number, jnp.int32) - workers.num_absent
    _moments.note(
        _moments.Moments(workers.axis_name, mean_square, square_of_mean, number)
    )


def _moments_of_rows(parts: _merge.Parts, extent: _merge.Extent):
    """Return both moments, where all rows are known."""
    workers = extent.workers

    def measure(rows):  # [W, s]
        shares = jnp.full(workers.number, 1 / workers.number, rows.dtype)
        if workers.weight is not None:
            each = jnp.arange(workers.number)
            shares = workers.share_of(each, rows.dtype)
            rows = jnp.where(workers.weight[:, None] > 0, rows, 0)
        mean = _tree.sum_rows(shares[:, None] * rows)
        return jnp.sum(shares * jnp.sum(rows**2, axis=1)), jnp.sum(mean**2)

    measured = {message: jnp.stack(measure(x.rows)) for message, x in parts.items()}
    return tuple(extent.total(measured, "diversity"))


def _mean_of_own_squares(
    outgoing: Sequence[_transport.Outgoing], extent: _merge.Extent
) -> jax.Array:
    """Return the mean of what each worker finds in its own message."""
    workers = extent.workers
    own = [_own_square(item, workers.index) for item in outgoing]
    squares = _by_message(outgoing, own)
    share = 1 / workers.number
    totals = []
    for square in squares.values():
        # An absent worker may hold anything.
        square = jnp.where(workers.is_present, square, 0)
        if workers.weight is not None:
            share = workers.share_of(workers.index, square.dtype)
        totals.append(_merge.sum_of_shards(square * share, "diversity", extent))
    dtype = _tree.accumulator_dtype(*(value.dtype for value in totals))
    total = sum((value.astype(dtype) for value in totals), jnp.zeros((), dtype))
    with _traffic.contents([_traffic.Content("(diversity)", _tree.leaf_nbytes(total))]):
        return _collectives.psum(total, workers.axis_name)


def _own_square(item: _transport.Outgoing, worker_index: jax.Array) -> jax.Array:
    """Return the squared norm of what receivers decode of this worker's leaf."""
    compressor = item.plan.compressor
    if compressor.incremental or item.payload is None:
        raise ValueError(
            f"`compressor` {compressor.name} sends what is no gradient of one worker, "
            "so that measure_diversity has nothing to measure. Take one whose messages "
            "can be decoded one by one (error_feedback, qsgd, top_k)."
        )
    dtype = _tree.accumulator_dtype(item.plan.like.dtype)
    like = _tree.like_leaf(item.plan.like, dtype)
    keys = item.keys_of(worker_index)
    return _square(compressor.decode(item.payload, like, keys))


def _square_of_merged(outgoing, leaves, extent):
    """Return the squared norm of the mean, of which I may hold only my part."""
    squares = _by_message(outgoing, map(_square, leaves))
    return extent.total(squares, "diversity")


def _by_message(outgoing, values) -> Mapping[_transport.Message, jax.Array]:
    """Add up the values of the leaves that travel together."""
    values = list(values)
    messages = _transport.messages_of([item.plan for item in outgoing])
    dtype = _tree.accumulator_dtype(*(value.dtype for value in values))
    return {
        message: sum((values[i].astype(dtype) for i in indices), jnp.zeros((), dtype))
        for message, indices in messages.items()
    }


def _square(leaf: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(jnp.abs(leaf)))
