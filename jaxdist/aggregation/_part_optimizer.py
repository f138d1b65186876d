"""Part optimizer: each worker takes the optimizer's step for its parts of the leaves.

A part keeps the rank of its leaf, ``[1, ..., 1, d/W]``, so that a mask that asks for
matrices finds them. All parts are seen at once, so that a mask may ask for names.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _coordinatewise
from jaxdist.workers import _levels, _shards, _worker_state


class PartsState(NamedTuple):
    """Marks an optimizer's state for parts of leaves, to be cut again for another W."""

    inner_state: Any  # of the wrapped optimizer; leaves [1, ..., 1, d/W]


@dataclasses.dataclass(frozen=True, eq=False)
class PartOptimizer:
    """The optimizer whose state is cut into parts, and what comes before its step."""

    inner: optax.GradientTransformationExtraArgs
    max_norm: float | None

    def init(
        self, params: Any, axis_name: _collectives.AxisName
    ) -> _worker_state.PerWorkerState:
        """Return the state for this worker's parts of the parameters."""
        parts = own_parts(params, axis_name)
        if jax.tree.leaves(params):
            self._check_inner(params, parts)
        with _shards.enter(_collectives.names_of(axis_name), has_parts=True):
            state = PartsState(self.inner.init(parts))
        return _worker_state.attach_axis(state, axis_name)

    def _check_inner(self, params, parts):
        """Raise for what cannot step on parts of leaves."""
        with _levels.note_aggregations(are_skipped=True) as levels:
            _coordinatewise.check_coordinatewise(self.inner, params, parts)
        if levels.has_met and self.max_norm is not None:
            raise ValueError(
                "`max_norm` must be None where `inner` aggregates: it would clip what "
                f"each pod has before they meet, got {self.max_norm}."
            )

    def step(
        self,
        parts: Any,
        state: _worker_state.PerWorkerState,
        axis_name: _collectives.AxisName,
        params: Any,
        extra: dict[str, Any],
    ) -> tuple[Any, _worker_state.PerWorkerState, bool]:
        """Return the updates for this worker's parts, and the state after the step.

        It also returns whether the optimizer aggregates over another axis.

        Args:
          parts: Of the aggregated gradient, shaped as :func:`own_parts` shapes them.
          state: Before the step.
          axis_name: Of the workers.
          params: Whole parameters.
          extra: Further arguments of ``tx.update``.
        """
        if self.max_norm is not None:
            parts = _clip_norm(parts, self.max_norm, axis_name)
        before = _worker_state.detach_axis(state).inner_state
        own = own_parts(params, axis_name)
        inside = _shards.enter(_collectives.names_of(axis_name), has_parts=True)
        with inside, _levels.note_aggregations() as levels:
            updates, after = self.inner.update(parts, before, own, **extra)
        state = _worker_state.attach_axis(PartsState(after), axis_name)
        return updates, state, levels.has_met


def own_parts(tree: Any, axis_name: _collectives.AxisName) -> Any:
    """Return this worker's part of every leaf."""

    def cut(leaf):
        part = _collectives.own_part(leaf, axis_name)
        return part.reshape(part_shape(leaf.shape, part.size))

    return jax.tree.map(cut, tree)


def part_shape(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the shape of a part of so many elements; its rank is that of the leaf."""
    return (1,) * (len(shape) - 1) + (size,) if shape else ()


def _clip_norm(parts, max_norm, axis_name):
    """Scale the whole gradient to at most this norm, as optax does."""
    squares = [
        jnp.sum(jnp.square(jnp.abs(part.astype(_tree.accumulator_dtype(part.dtype)))))
        for part in jax.tree.leaves(parts)
    ]
    with _traffic.contents([_traffic.Content("(norm)", 4)]):
        square = _collectives.psum(sum(squares), axis_name)
    norm = jnp.sqrt(square)
    scale = jnp.where(norm < max_norm, jnp.ones_like(norm), max_norm / norm)
    return jax.tree.map(lambda part: part * scale.astype(part.dtype), parts)
