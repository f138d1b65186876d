"""Checkpoints of a training state and its place in the data, from any processes."""

import pathlib
from typing import Any

import jax
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxdist as jd


class Checkpoints:
    """The last two checkpoints in a directory that all processes see.

    Saving is asynchronous and sharded: every process writes what it holds, while
    training goes on. A checkpoint appears under its name when it is complete, so the
    last one is good whatever happens.
    """

    def __init__(self, directory: str):
        """Open the directory, or make it."""
        self._manager = ocp.CheckpointManager(
            pathlib.Path(directory).absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2, cleanup_tmp_directories=True
            ),
        )

    def __enter__(self):
        """Return itself."""
        return self

    def __exit__(self, *error):
        """Finish what is being written, unless something went wrong."""
        if error == (None, None, None):
            self._manager.close()

    def save(self, state: jd.TrainState, step: int, workers: int) -> None:
        """Start to save what the next step needs; ``step`` is the place in the data."""
        if step != self._manager.latest_step():
            place = {"step": step, "workers": workers}
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), place=ocp.args.JsonSave(place)
                ),
            )

    def restore(
        self,
        state: jd.TrainState,
        tx: optax.GradientTransformation,
        mesh: Mesh,
        axis_name: str,
    ) -> tuple[jd.TrainState, int]:
        """Return the last state saved and its step, or the given state and 0."""
        step = self._manager.latest_step()
        if step is None:
            return state, 0
        place = self._restore(step, place=ocp.args.JsonRestore())["place"]
        old, new = place["workers"], mesh.shape[axis_name]
        if old == new:
            return self._restore_state(step, _target(state)), place["step"]
        wider = self._restore_state(step, _target_of(state, tx, old, mesh, axis_name))
        return _resized(wider, state, old, new), place["step"]

    def _restore(self, step: int, **args: Any) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**args))

    def _restore_state(self, step: int, target: Any) -> jd.TrainState:
        restored = self._restore(step, state=ocp.args.StandardRestore(target))
        return restored["state"]


def _target(state: Any) -> Any:
    """Return shapes, dtypes and shardings: what is wanted, and where."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def _target_of(state, tx, workers, mesh, axis_name):
    """Return the target for a state of other workers, on every device as a whole."""
    replicated = NamedSharding(mesh, PartitionSpec())
    init, _ = jd.simulate(lambda params, batch: 0.0, tx, workers, axis_name)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
        jax.eval_shape(init, state.params),
    )


def _resized(restored, state, old, new):
    """Share what the old workers remember among the new ones."""

    def resize(restored):
        opt_state = jd.resize_residuals(restored.opt_state, old, new, restored.params)
        return jd.TrainState(restored.params, opt_state)

    shardings = jax.tree.map(lambda x: x.sharding, state)
    return jax.jit(resize, out_shardings=shardings)(restored)
