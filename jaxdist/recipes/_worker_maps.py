"""Worker maps: a function of one worker, mapped over all of them.

A round that streams takes turns: workers walk alone, and meet, and walk on. What they
do alone runs without types of the mapped axis, as the user's loss must; where they
meet, types say that all receive the same. A mesh and a simulation map both in their own
way.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxdist import _collectives
from jaxdist.layout import _state_specs
from jaxdist.workers import _worker_state


class WorkerMap(Protocol):
    """How functions of one worker are mapped over all; arrays of all are ``[W, ...]``.

    What is called `own` is different for each worker, what is called `common` the same
    for all, and a `marked` state says for each leaf which of the two it is.
    """

    def alone(
        self, function: Callable[..., Any], own: Any, batches: Any, common: Any
    ) -> Any:
        """Return the own results of ``function(own, batches, common)``.

        Args:
          function: Without collectives.
          own: ``[W, ...]``.
          batches: ``[H, W * b, ...]`` on a mesh, ``[H, W, b, ...]`` in a simulation.
          common: Without an axis of workers.
        """
        ...

    def together(
        self, function: Callable[..., Any], own: Any, common: Any, marked: Any
    ) -> tuple[Any, Any]:
        """Return what ``function(own, common, marked)`` makes common, and the state.

        Args:
          function: ``(own, common, marked) -> (common, marked)``, with collectives.
          own: ``[W, ...]``.
          common: Without an axis of workers; with a state, the parameters for which
            it was made.
          marked: State of an optimizer, with marks at what differs between workers; or
            ``()``.
        """
        ...


@dataclasses.dataclass(frozen=True)
class OnMesh:
    """One worker per device."""

    mesh: Mesh
    axis_name: _collectives.AxisName
    tx: optax.GradientTransformation  # whose states are marked

    def alone(self, function, own, batches, common):
        """Return the own results of a function of each worker."""

        def worker(own, batches, common):
            return _stacked(function(_sliced(own), batches, common))

        rows = PartitionSpec(self.axis_name)
        parts = PartitionSpec(None, self.axis_name)
        in_specs = rows, parts, PartitionSpec()
        # The types would ask the user's loss for `pcast`.
        mapped = self._map(worker, in_specs, rows, check_vma=False)
        return mapped(own, batches, common)

    def together(self, function, own, common, marked):
        """Return what a function makes common of what workers have, and the state."""

        def worker(own, common, marked):
            return function(_sliced(own), common, marked)

        specs = self._specs_of(marked, common)
        rows = PartitionSpec(self.axis_name)
        in_specs = rows, PartitionSpec(), specs
        mapped = self._map(worker, in_specs, (PartitionSpec(), specs), check_vma=True)
        return mapped(own, common, marked)

    def _specs_of(self, marked, params):
        has_levels = len(_collectives.names_of(self.axis_name)) > 1
        if has_levels and jax.tree.leaves(marked):
            return _state_specs.state_specs(self.tx, params, self.axis_name, self.mesh)
        return _state_specs.specs_of(marked, self.axis_name)

    def _map(self, worker, in_specs, out_specs, check_vma):
        return jax.shard_map(
            worker,
            mesh=self.mesh,
            axis_names=set(_collectives.names_of(self.axis_name)),
            in_specs=in_specs,
            out_specs=out_specs,
            check_vma=check_vma,
        )


@dataclasses.dataclass(frozen=True)
class OnRows:
    """All workers on one device, each a row."""

    axis_name: str

    def alone(self, function, own, batches, common):
        """Return the own results of a function of each worker."""
        mapped = jax.vmap(function, (0, 1, None), axis_name=self.axis_name)
        return mapped(own, batches, common)

    def together(self, function, own, common, marked):
        """Return what a function makes common of what workers have, and the state."""

        def worker(own, common, marked):
            # Inside, a slice has a leading axis of size 1, as on a mesh.
            marked = _worker_state.map_slices(lambda leaf: leaf[None], marked)
            common, marked = function(own, common, marked)
            return common, _worker_state.map_slices(lambda leaf: leaf[0], marked)

        axes = _worker_state.fill_marked(marked, 0, None)
        mapped = jax.vmap(
            worker, (0, None, axes), (None, axes), axis_name=self.axis_name
        )
        return mapped(own, common, marked)


def _sliced(own):
    """Return this worker's of what all have, ``[1, ...]`` in its part of the mesh."""
    return jax.tree.map(lambda leaf: leaf[0], own)


def _stacked(own):
    """Invert :func:`_sliced`."""
    return jax.tree.map(lambda leaf: leaf[None], own)
