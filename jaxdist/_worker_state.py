"""State that differs between workers: one slice of a ``[W, ...]`` array for each."""

from typing import Any, NamedTuple

import jax

from jaxdist import _collectives, _types


class PerWorkerState(NamedTuple):
    """Marks state that differs between workers; `state_specs` reads the mark."""

    inner_state: Any  # every leaf [1, ...]: this worker's slice; varies over workers


def attach(state: Any, axis_name: _types.AxisName) -> PerWorkerState:
    """Give every leaf a leading axis of size 1 and type it as varying."""
    varying = _collectives.to_varying(state, axis_name)
    return PerWorkerState(jax.tree.map(lambda leaf: leaf[None], varying))


def detach(state: PerWorkerState) -> Any:
    """Invert :func:`attach`."""
    return jax.tree.map(lambda leaf: leaf[0], state.inner_state)
