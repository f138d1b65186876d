"""Data parallel: from a loss and an optimizer to a step on many devices."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdist import _collectives, _tree
from jaxdist.layout import _init, _state_specs
from jaxdist.recipes import _local_step
from jaxdist.workers import _worker_state


def data_parallel(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    mesh: Mesh,
    axis_name: _collectives.AxisName,
    *,
    has_aux: bool = False,
    per_worker_params: bool = False,
) -> tuple[Callable[[Any], _local_step.TrainState], _local_step.Step]:
    """Return ``(init, step)`` that train on a mesh, one worker per device.

    Args:
      loss_fn: ``(params, batch) -> loss`` of one worker's part of the batch, a scalar;
        with ``has_aux`` ``(loss, metrics)``, a dict of arrays.
      tx: The whole optimizer, with :func:`aggregate` (or, with ``per_worker_params``,
        perhaps :func:`pull_to_leader`) in it. It gets each worker's loss as ``value=``.
      mesh: Mesh with the axis or axes of the workers, of one process or many.
      axis_name: Their name.
      has_aux: Whether ``loss_fn`` returns metrics.
      per_worker_params: Whether each worker has parameters of its own. They start
        equal, and have a leading axis of W, sharded over ``axis_name``.

    Returns:
      ``init(params) -> TrainState`` copies the parameters and puts them and the state
      of ``tx`` on the mesh. ``step(state, batch, weight=None) -> (state, metrics)`` is
      jitted and donates the state. Arrays of the batch have a leading axis that W
      divides, and are
      sharded over it; NumPy arrays are this process' part of the batch. The metrics
      hold ``"loss"`` and those of ``loss_fn``, as means over the workers. ``weight``
      ``[W]``, sharded as the batch is, says how much each worker counts, in the means
      too; 0 is absent: see :func:`aggregate`. With several levels of
      :func:`aggregate`, a group counts as much as all of its workers.

    Raises:
      ValueError: If the mesh has no such axis; when called, if W does not divide a
        batch, if the updates differ between workers though the parameters must not, or
        as :func:`state_specs` raises.

    Communication:
      That of ``tx``, and an all-reduce of the metrics.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> tx = optax.chain(jaxdist.aggregate("data"), optax.sgd(0.5))
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> init, step = jaxdist.data_parallel(loss, tx, mesh, "data")
      >>> state, metrics = step(init(jnp.zeros(())), jnp.array([1.0, 3.0]))
      >>> print(state.params, metrics["loss"])
      2.0 5.0
    """
    _init.check_mesh(mesh, axis_name)
    worker_step = _local_step.local_step(loss_fn, tx, axis_name, has_aux=has_aux)
    param_spec = PartitionSpec(axis_name) if per_worker_params else PartitionSpec()
    batch_spec = PartitionSpec(axis_name)
    # With parameters of its own, each worker keeps all state to itself.
    has_levels = isinstance(axis_name, tuple) and not per_worker_params

    def own(params):
        return (
            jax.tree.map(lambda leaf: leaf[0], params) if per_worker_params else params
        )

    def stacked(params):
        if not per_worker_params:
            return params
        varying = _collectives.to_varying(params, axis_name)
        return jax.tree.map(lambda leaf: leaf[None], varying)

    def specs_of(state):
        opt_specs = _state_specs.specs_of(state.opt_state, axis_name)
        if has_levels:
            params = jax.eval_shape(own, state.params)
            opt_specs = _state_specs.state_specs(tx, params, axis_name, mesh)
        return _local_step.TrainState(param_spec, opt_specs)

    def init(params):
        def make(params):
            return _local_step.TrainState(stacked(params), tx.init(params))

        levels = mesh if has_levels else None
        opt_specs = _state_specs.state_specs(tx, params, axis_name, levels)
        specs = _local_step.TrainState(param_spec, opt_specs)
        return _init.make_on_mesh(make, params, specs, mesh, axis_name)

    def worker(state, batch, weight):
        weight = None if weight is None else weight[0]
        state = state._replace(params=own(state.params))
        state, metrics = worker_step(state, batch, weight)
        _check_same_everywhere(state, axis_name, per_worker_params)
        return state._replace(params=stacked(state.params)), metrics

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, batch, weight):
        specs = specs_of(state)
        mapped = jax.shard_map(
            worker,
            mesh=mesh,
            in_specs=(specs, batch_spec, batch_spec),
            out_specs=(specs, PartitionSpec()),
            axis_names=set(_collectives.names_of(axis_name)),
        )
        return mapped(state, batch, weight)

    def step(state, batch, weight=None):
        if weight is not None:
            weight = _weights_on_mesh(weight, mesh, axis_name)
        return run(state, _on_mesh(batch, mesh, axis_name), weight)

    return init, step


def _on_mesh(batch: Any, mesh: Mesh, axis_name: _collectives.AxisName) -> Any:
    """Shard a batch over the workers; NumPy arrays are this process' part of it."""
    sharding = NamedSharding(mesh, PartitionSpec(axis_name))
    num_workers = math.prod(
        mesh.shape[name] for name in _collectives.names_of(axis_name)
    )

    def put(path, leaf):
        is_global = isinstance(leaf, jax.Array)
        leaf = leaf if is_global else np.asarray(leaf)
        shards = num_workers
        if not is_global:
            shards = num_workers * len(mesh.local_devices) // mesh.size
        if not leaf.ndim or leaf.shape[0] % shards:
            raise ValueError(
                f"`batch` must have a leading axis that {shards} workers divide, but "
                f"leaf {_tree.path_name(path)!r} has shape {leaf.shape}."
            )
        if is_global:
            return jax.device_put(leaf, sharding)
        return jax.make_array_from_process_local_data(sharding, leaf)

    return jax.tree.map_with_path(put, batch)


def _weights_on_mesh(
    weight: Any, mesh: Mesh, axis_name: _collectives.AxisName
) -> jax.Array:
    """Shard one number for each worker; NumPy arrays are those of this process."""
    weight = weight if isinstance(weight, jax.Array) else np.asarray(weight, np.float32)
    names = _collectives.names_of(axis_name)
    wanted = math.prod(mesh.shape[name] for name in names)
    if not isinstance(weight, jax.Array):
        wanted = wanted * len(mesh.local_devices) // mesh.size
    if weight.shape != (wanted,):
        raise ValueError(
            f"`weight` must have one number for each worker, the shape ({wanted},), "
            f"got {weight.shape}."
        )
    return _on_mesh(weight, mesh, axis_name)


def _check_same_everywhere(
    state: _local_step.TrainState,
    axis_name: _collectives.AxisName,
    per_worker_params: bool,
) -> None:
    """Raise when what must be equal on all workers may differ."""
    if not per_worker_params:
        for name, leaf in zip(*_tree.flatten_named(state.params)[:2], strict=True):
            if _collectives.is_varying(leaf, axis_name):
                raise ValueError(
                    f"`tx` gives every worker other updates (leaf {name!r}): put "
                    f"jaxdist.aggregate({axis_name!r}, ...) into the chain, or give "
                    "each worker its own parameters with `per_worker_params=True`."
                )
    common = _worker_state.map_slices(lambda leaf: None, state.opt_state)
    for name, leaf in zip(*_tree.flatten_named(common)[:2], strict=True):
        if _collectives.is_varying(leaf, axis_name):
            raise ValueError(
                f"`tx` keeps state that differs between workers (leaf {name!r}): wrap "
                f"what owns it in jaxdist.per_worker({axis_name!r}, ...)."
            )
