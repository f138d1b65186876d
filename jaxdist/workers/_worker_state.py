"""State that differs between workers: one slice of a ``[W, ...]`` array for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxdist import _collectives, _tree


class PerWorkerState(NamedTuple):
    """Marks state that differs between workers; `state_specs` reads the mark."""

    inner_state: Any  # every leaf [1, ...]: this worker's slice; varies over workers


def attach_axis(state: Any, axis_name: _collectives.AxisName) -> PerWorkerState:
    """Give every leaf a leading axis of size 1 and type it as varying."""
    varying = _collectives.to_varying(state, axis_name)
    return PerWorkerState(jax.tree.map(lambda leaf: leaf[None], varying))


def detach_axis(state: PerWorkerState) -> Any:
    """Invert :func:`attach_axis`."""
    return jax.tree.map(lambda leaf: leaf[0], state.inner_state)


def is_per_worker(node: Any) -> bool:
    """Whether the node marks state that differs between workers."""
    return isinstance(node, PerWorkerState)


def holds_marks(tree: Any) -> bool:
    """Whether any node of a tree marks state that differs between workers."""
    return bool(_tree.nodes_of(tree, PerWorkerState))


def fill_marked(state: Any, own: Any, common: Any) -> Any:
    """Return the state's tree with ``own`` below the marks and ``common`` elsewhere."""

    def value(node):
        if is_per_worker(node):
            return jax.tree.map(lambda _: own, node)
        return common

    return jax.tree.map(value, state, is_leaf=is_per_worker)


def map_slices(fn: Callable[[Any], Any], state: Any) -> Any:
    """Apply a function to the leaves below the marks, and leave the others alone."""
    return jax.tree.map(
        lambda node: jax.tree.map(fn, node) if is_per_worker(node) else node,
        state,
        is_leaf=is_per_worker,
    )
