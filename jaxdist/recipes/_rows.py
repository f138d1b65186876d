"""Rows: what belongs to a worker, and what to a place among those who meet.

In simulated time K of W workers meet. What a worker remembers of its own, such as a
residual, is one of W rows, and goes where the worker goes. What a server keeps in parts
for the way back or for its rule is one of K rows, and stays in its place.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdist.aggregation import _aggregation
from jaxdist.layout import _state_specs
from jaxdist.workers import _worker_state

Function = Callable[[Any], Any]


def map_rows(state: Any, of_worker: Function, of_place: Function, common: Any) -> Any:
    """Return the state with a function of each leaf, by whom the leaf belongs to.

    Args:
      state: Of an optimizer.
      of_worker: Of leaves that belong to a worker.
      of_place: Of leaves that belong to a place.
      common: Of leaves that are equal for all.
    """

    def change(node):
        if isinstance(node, _aggregation.AggregateState):
            uplink = jax.tree.map(of_worker, node.uplink)
            server = _map_marked(node._replace(uplink=()), of_place, common)
            return server._replace(uplink=uplink)
        return _map_marked(node, of_worker, common)

    return jax.tree.map(change, state, is_leaf=_is_owner)


def _map_marked(state, marked, common):
    """Map what is marked as different between workers, and what is not."""

    def change(node):
        is_marked = _worker_state.is_per_worker(node)
        return jax.tree.map(marked if is_marked else common, node)

    return jax.tree.map(change, state, is_leaf=_worker_state.is_per_worker)


def _is_owner(node):
    is_aggregate = isinstance(node, _aggregation.AggregateState)
    return is_aggregate or _worker_state.is_per_worker(node)


def init_rows(
    tx: optax.GradientTransformation, params: Any, axis_name: str, number: int
) -> Any:
    """Return the state before the first step, with rows of so many workers.

    Args:
      tx: The whole optimizer.
      params: Equal for all.
      axis_name: Of the workers.
      number: How many there are.
    """

    def make(params):
        return _worker_state.map_slices(lambda leaf: leaf[0], tx.init(params))

    specs = _state_specs.state_specs(tx, params, axis_name)
    return jax.vmap(
        make,
        in_axes=None,
        out_axes=_worker_state.fill_marked(specs, 0, None),
        axis_size=number,
        axis_name=axis_name,
    )(params)


def copy_leaves(tree: Any, number: int | None) -> Any:
    """Return copies ``[number, ...]`` of all leaves; None for one without an axis."""

    def copy(leaf):
        leaf = jnp.asarray(leaf)
        shape = leaf.shape if number is None else (number, *leaf.shape)
        return jnp.broadcast_to(leaf, shape).copy()

    return jax.tree.map(copy, tree)


def axes_of(state: Any) -> Any:
    """Return the axes of `vmap` over those who meet: 0 for rows, None for others."""
    return map_rows(state, lambda leaf: 0, lambda leaf: 0, lambda leaf: None)


def has_rows_of_workers(state: Any) -> bool:
    """Whether workers remember anything of their own."""
    marked = map_rows(state, lambda leaf: True, lambda leaf: False, lambda leaf: False)
    return any(jax.tree.leaves(marked))


def take_rows(state: Any, workers: jax.Array) -> Any:
    """Return the state with the rows of the workers ``[K]`` that meet."""

    def take(leaf):
        return take_leaf(leaf, workers)

    return map_rows(state, take, _same, _same)


def put_rows(state: Any, workers: jax.Array, before: Any) -> Any:
    """Invert :func:`take_rows`: return all W rows, those of the workers replaced."""
    marks = map_rows(before, lambda leaf: True, lambda leaf: False, lambda leaf: False)
    return jax.tree.map(
        lambda is_worker, old, new: put_leaf(old, workers, new) if is_worker else new,
        marks,
        before,
        state,
    )


def merge_rows(everyone: Any, places: Any) -> Any:
    """Return the rows of workers of the first state, and all else of the second."""
    marks = map_rows(places, lambda leaf: True, lambda leaf: False, lambda leaf: False)
    return jax.tree.map(
        lambda is_worker, mine, other: mine if is_worker else other,
        *(marks, everyone, places),
    )


def take_leaf(leaf: jax.Array, workers: jax.Array) -> jax.Array:
    """Return the rows ``[K, ...]`` of ``[W, ...]``; of nobody, the index W, any row."""
    return jnp.take(leaf, workers, axis=0, mode="clip")


def put_leaf(leaf: jax.Array, workers: jax.Array, rows: jax.Array) -> jax.Array:
    """Return ``[W, ...]`` with the rows ``[K, ...]``; nobody's row is dropped."""
    return leaf.at[workers].set(rows, mode="drop")


def _same(leaf):
    return leaf
