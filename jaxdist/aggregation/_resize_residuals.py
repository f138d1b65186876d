"""Resize residuals: go on with another number of workers, and lose nothing."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jax.sharding import AxisType

from jaxdist import _checks, _tree
from jaxdist.aggregation import (
    _aggregation,
    _aggregation_metrics,
    _on_shards,
    _part_optimizer,
    _receiver_memory,
)
from jaxdist.compression import _stored_residual
from jaxdist.workers import _shards, _worker_state


def resize_residuals(state: Any, old: int, new: int, params: Any) -> Any:
    r"""Change the number of workers of an optimizer state.

    Every worker starts with the mean :math:`\frac{1}{W}\sum_i e_i` of the residuals,
    momenta and estimates, so that their mean, which is what the optimizer is still
    owed, stays what it was. What workers keep of their parts of the way back is cut
    again for the new parts, and so is the last result of a rule that compares with it.
    Metrics begin again. Counters and keys are taken over in turn.

    Args:
      state: State of a whole optimizer with ``[W, ...]`` arrays of all workers, as
        ``init``, ``data_parallel`` and ``simulate`` hold it and checkpoints keep it.
      old: W of the state.
      new: W wanted.
      params: The parameters, or their shapes and dtypes. Those that are sharded inside
        of each worker, with a ``NamedSharding`` that says so.

    Returns:
      A state for ``new`` workers. Put it on the mesh with :func:`state_specs`.

    Raises:
      ValueError: If ``old`` is not what the state was made for, or a number is below 1.

    Communication:
      None of its own; on sharded arrays XLA moves what must move.

    Example:
      >>> tx = jaxdist.aggregate(
      ...     "data",
      ...     compressor=jaxdist.compression.error_feedback(
      ...         jaxdist.compression.top_k(0.5)
      ...     ),
      ... )
      >>> workers = jax.vmap(lambda g: tx.update(g, tx.init(g)), axis_name="data")
      >>> gradients = jnp.array([[3.0, 1.0], [2.0, 5.0]])
      >>> state = workers(gradients)[1]
      >>> slices = jax.tree.map(lambda leaf: leaf[:, 0], state.uplink.inner_state)
      >>> state = state._replace(uplink=jaxdist.PerWorkerState(slices))
      >>> resized = jaxdist.resize_residuals(state, old=2, new=3, params=jnp.zeros(2))
      >>> print(resized.uplink.inner_state.residual)
      [[1.  0.5]
       [1.  0.5]
       [1.  0.5]]
    """
    old = _checks.integer("old", old, 1)
    new = _checks.integer("new", new, 1)
    return resize_state(state, old, new, params, _shards.shards_of(params))


def resize_state(
    state: Any, old: int, new: int, params: Any, shards: _shards.Shards | None
) -> Any:
    """Resize as :func:`resize_residuals` does, of leaves that are sharded so.

    Args:
      state: Of a whole optimizer.
      old: W of the state.
      new: W wanted.
      params: The parameters, or their shapes and dtypes.
      shards: How they are sharded inside of each worker, or None.
    """

    def resize_aggregate(node, params):
        shapes = {name: leaf.shape for name, leaf in _tree.named_leaves(params)}
        return _resize_aggregate(node, old, new, shapes)

    def resize(node):
        if isinstance(node, _aggregation.AggregateState):
            if shards is None:
                return resize_aggregate(node, params)
            return _on_shards.map_shards(resize_aggregate, shards, node, params)
        if _worker_state.is_per_worker(node):
            return _average_workers(node, old, new)
        return node

    def is_leaf(node):
        is_aggregate = isinstance(node, _aggregation.AggregateState)
        return is_aggregate or _worker_state.is_per_worker(node)

    state = jax.tree.map(without_axis_types, state)
    return jax.tree.map(resize, state, is_leaf=is_leaf)


def without_axis_types(leaf: Any) -> Any:
    """Return an array that no mesh with explicit axes holds, by way of this host.

    With explicit axes every shape on the way would have to be divided by the mesh.
    """
    if isinstance(leaf, core.Tracer) or not isinstance(leaf, jax.Array):
        return leaf
    mesh = getattr(leaf.sharding, "mesh", None)
    is_explicit = mesh is not None and AxisType.Explicit in mesh.axis_types
    return jnp.asarray(np.asarray(leaf)) if is_explicit else leaf


def _resize_aggregate(state, old, new, shapes):
    """Average what senders remember; cut again what belongs to parts of leaves."""
    whole, part, downlink = state.estimates

    def average_senders(_, estimates):
        # [d] is a mean already; [W, d] has one row for each sender.
        return estimates if estimates.ndim == 1 else _mean_rows(estimates, old, new)

    def recut_senders(name, estimates):
        # [W, d/W], or [W, W, d/W] with the senders second.
        if estimates.ndim == 2:
            return _recut_parts(estimates, _size_of(name, shapes), new)
        parts = _recut_parts(jnp.mean(estimates, axis=1), _size_of(name, shapes), new)
        return jnp.broadcast_to(parts[:, None], (new, new, parts.shape[1]))

    def recut(name, estimates):
        return _recut_parts(estimates, _size_of(name, shapes), new)

    return state._replace(
        uplink=_average_workers(state.uplink, old, new),
        downlink=_resize_way_back(state.downlink, old, new, shapes),
        estimates=_receiver_memory.EstimateState(
            _map_named(average_senders, whole),
            _worker_state.PerWorkerState(_map_named(recut_senders, part.inner_state)),
            _map_named(recut, downlink),
        ),
        rule=_resize_rule(state.rule, new, shapes),
    )


def _resize_rule(state, new, shapes):
    """Cut the last result again where each worker holds its part; measure anew."""

    def recut(name, parts):
        return _recut_parts(parts, _size_of(name, shapes), new)

    part = _worker_state.PerWorkerState(_map_named(recut, state.part.inner_state))
    metrics = state.metrics
    if metrics != ():
        metrics = _aggregation_metrics.zero_metrics(new)
    return state._replace(part=part, metrics=metrics)


def _average_workers(state, old, new):
    """Give every worker the mean of all."""

    def rows(node):
        if isinstance(node, _stored_residual.Int8Residual):
            mean = _mean_rows(
                _stored_residual.load_residual(node, jnp.float32), old, new
            )
            return _stored_rows(mean)
        return _mean_rows(node, old, new)

    return _worker_state.PerWorkerState(
        jax.tree.map(rows, state.inner_state, is_leaf=_is_int8)
    )


def _resize_way_back(state, old, new, shapes):
    """Cut again what belongs to parts of leaves: of an optimizer, or of compressors."""
    if isinstance(state.inner_state, _part_optimizer.PartsState):
        return _resize_optimizer(state, old, new, shapes)
    return _resize_parts(state, old, new, shapes)


def _resize_optimizer(state, old, new, shapes):
    """Cut again an optimizer's state, in which the leaves' names come last."""
    _check_levels(state)

    def rows(name, node):
        for leaf, shape in shapes.items():
            size = math.prod(shape)
            part = _part_optimizer.part_shape(shape, _tree.block_size(size, old))
            belongs = not leaf or f"/{name}".endswith(f"/{leaf}")
            if belongs and node.shape == (old, *part):
                parts = _recut_parts(node.reshape(old, -1), size, new)
                return parts.reshape(
                    new, *_part_optimizer.part_shape(shape, parts.shape[1])
                )
        return _mean_rows(node, old, new)

    return _worker_state.PerWorkerState(_map_named(rows, state.inner_state))


def _check_levels(state):
    """Raise where parts are aggregated once more, over another axis."""
    if _worker_state.holds_marks(state.inner_state):
        raise ValueError(
            "`state` must not be of shard_optimizer with an `inner` that aggregates: "
            "what pods remember of their parts cannot be cut for other workers, got a "
            "state with both. Start with a new state of the optimizer."
        )


def _resize_parts(state, old, new, shapes):
    """Cut again what workers remember of their parts of the leaves."""

    def rows(name, node):
        size = _size_of(name, shapes)
        part = _tree.block_size(size, old)
        narrow = _is_int8(node)
        array = _stored_residual.load_residual(node, jnp.float32) if narrow else node
        if array.shape[1:] != (part,):
            return jax.tree.map(lambda leaf: _mean_rows(leaf, old, new), node)
        parts = _recut_parts(array, size, new)
        return _stored_rows(parts) if narrow else parts

    return _worker_state.PerWorkerState(_map_named(rows, state.inner_state, _is_int8))


def _stored_rows(rows):
    """Store each worker's row alone, in one byte per element."""
    key = jax.random.key(0)
    return jax.vmap(lambda row: _stored_residual.store_residual(row, "int8", key))(rows)


def _size_of(name: str, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the size of the leaf to which a state of this name belongs."""
    for leaf, shape in shapes.items():
        if leaf == "" or f"{name}/".startswith(f"{leaf}/"):
            return math.prod(shape)
    raise ValueError(
        f"`params` has no leaf for the state {name!r}: they are other parameters, or "
        "by_leaf(..., joint=True) made one vector of several, which is not cut again."
    )


def _is_int8(node: Any) -> bool:
    return isinstance(node, _stored_residual.Int8Residual)


def _map_named(function, tree, is_leaf=None):
    """Map over a tree with the names of its leaves."""
    return jax.tree.map_with_path(
        lambda path, leaf: function(_tree.path_name(path), leaf), tree, is_leaf=is_leaf
    )


def _mean_rows(rows: jax.Array, old: int, new: int) -> jax.Array:
    """Return ``[new, ...]``: the mean of floats, other rows in turn."""
    if rows.shape[0] != old:
        raise ValueError(
            f"`old` must be the number of workers of the state, {rows.shape[0]}, "
            f"got {old}."
        )
    if not jnp.issubdtype(rows.dtype, jnp.inexact):
        return rows[jnp.arange(new) % old]
    mean = jnp.mean(rows.astype(_tree.accumulator_dtype(rows.dtype)), axis=0)
    return jnp.broadcast_to(mean.astype(rows.dtype), (new, *rows.shape[1:]))


def _recut_parts(parts: jax.Array, size: int, new: int) -> jax.Array:
    """Join ``[old, part]`` to a leaf of this size, and cut it into ``[new, part]``."""
    return _tree.to_blocks(parts.reshape(-1)[:size], new)
