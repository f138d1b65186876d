"""Resize training: go on with another number of workers, in one call."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdist import _checks
from jaxdist.aggregation import _on_shards, _resize_residuals
from jaxdist.fragments import _fragments
from jaxdist.layout import _init, _state_specs
from jaxdist.recipes import _local_step, _rounds, _streaming
from jaxdist.workers import _shards, _worker_state


def resize_training(
    state: _local_step.TrainState,
    tx: optax.GradientTransformation,
    workers: Mesh | int,
    axis_name: str,
    *,
    per_worker_params: bool = False,
    outer: optax.GradientTransformation | None = None,
    inner_state: _rounds.InnerState = "carry",
    correct_drift: bool = False,
    global_momentum: float = 0.0,
    fragments: _fragments.Fragments | None = None,
) -> _local_step.TrainState:
    """Return a state with which training goes on with other workers.

    Args:
      state: Of :func:`data_parallel` or :func:`simulate` with any number of workers,
        on any mesh, or as restored from a checkpoint.
      tx: The whole optimizer.
      workers: The new mesh of :func:`data_parallel`, or W of :func:`simulate`.
      axis_name: Axis of the workers, one name.
      per_worker_params: Whether each worker has parameters of its own. All then start
        with the mean of the old ones.
      outer: As in :func:`data_parallel`, for a state of local rounds.
      inner_state: As in :func:`data_parallel`.
      correct_drift: As in :func:`data_parallel`.
      global_momentum: As in :func:`data_parallel`.
      fragments: As in :func:`data_parallel`, for a state of rounds that stream.

    Returns:
      A state for the new number of workers, placed on the mesh where there is one, so
      that ``step`` takes it. What workers remember is shared as
      :func:`resize_residuals` does; parameters and moments stay as they are. In rounds
      that stream all workers go on from the anchor, ``state.params``.

    Raises:
      TypeError: If ``fragments`` come with a state of rounds that do not stream.
      ValueError: If the mesh has no such axis, if ``workers`` is below 1, if the state
        has another number of fragments, or if ``axis_name`` is a tuple, whose levels
        cannot be told apart.

    Communication:
      None of its own; on sharded arrays JAX moves what must move.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> tx = optax.chain(jaxdist.aggregate("data"), optax.sgd(0.5))
      >>> init, _ = jaxdist.simulate(loss, tx, 4, "data")
      >>> state = jaxdist.resize_training(init(jnp.zeros(())), tx, 3, "data")
      >>> _, step = jaxdist.simulate(loss, tx, 3, "data")
      >>> state, metrics = step(state, jnp.array([1.0, 2.0, 3.0]))
      >>> print(state.params)
      2.0
    """
    _checks.optimizer("tx", tx)
    _checks.flag("per_worker_params", per_worker_params)
    rounds = _rounds.checked_rounds(
        tx,
        outer,
        axis_name,
        inner_state,
        correct_drift,
        per_worker_params,
        global_momentum,
    )
    streaming = _streaming.streaming_of(state.opt_state, rounds, fragments)
    tx = _streaming.transformation_of(tx, rounds, streaming)
    if isinstance(axis_name, tuple):
        raise ValueError(
            "`axis_name` must be one name, since the levels of a network cannot be "
            f"resized together, got {axis_name!r}."
        )
    _checks.axis_name(axis_name)
    mesh = workers if isinstance(workers, Mesh) else None
    if mesh is not None:
        _init.check_mesh(mesh, axis_name)
        new = mesh.shape[axis_name]
    else:
        new = _checks.integer("workers", workers, 1)
    shards = _shards.shards_of(state.params, axis_name, int(per_worker_params))
    state = jax.tree.map(_resize_residuals.without_axis_types, state)
    params, model_state = state.params, state.model_state
    if per_worker_params:
        params, model_state = jax.tree.map(_mean_of_rows, (params, model_state))
    old = _number_of_workers(state.opt_state, new)
    opt_state = _resize_residuals.resize_state(
        state.opt_state, old, new, params, shards
    )
    if streaming is not None:
        streaming.check_number(opt_state, params)
        opt_state = streaming.resize_own(opt_state, params, new)
    with _shards.declare(shards):
        opt_specs = _state_specs.state_specs(tx, params, axis_name)
    own = PartitionSpec(axis_name) if per_worker_params else PartitionSpec()
    if per_worker_params:
        params, model_state = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (new, *leaf.shape)),
            (params, model_state),
        )
    resized = _local_step.TrainState(params, opt_state, model_state, state.key)
    specs = _local_step.TrainState(own, opt_specs, own, PartitionSpec())
    if mesh is None:
        return _on_one_device(resized)
    inside = None
    if shards is not None:
        _check_sizes(shards, mesh)
        inside = _specs_inside(resized, shards, per_worker_params)
    return _place(resized, specs, inside, mesh)


def _check_sizes(shards: _shards.Shards, mesh: Mesh) -> None:
    """Raise for a mesh on which a worker has other shards than before."""
    for name, size in shards.sizes:
        if mesh.shape.get(name) != size:
            raise ValueError(
                f"`workers` must be a mesh with {size} devices along {name!r}, over "
                "which parameters are sharded inside of each worker, got "
                f"{dict(mesh.shape)}."
            )


def _specs_inside(
    state: _local_step.TrainState, shards: _shards.Shards, per_worker_params: bool
) -> _local_step.TrainState:
    """Return how a state is sharded inside of each worker."""
    leading = (None,) if per_worker_params else ()
    whole = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[len(leading) :], leaf.dtype),
        state.params,
    )
    params = jax.tree.unflatten(
        jax.tree.structure(whole),
        [PartitionSpec(*leading, *spec) for spec in shards.specs_like(whole)],
    )
    common = jax.tree.map(lambda _: PartitionSpec(), state)
    opt_state = _on_shards.specs_of_state(state.opt_state, shards, whole)
    return common._replace(params=params, opt_state=opt_state)


def _number_of_workers(opt_state: Any, otherwise: int) -> int:
    """Return W of a state, which its leaves that differ between workers show."""
    sizes = []
    _worker_state.map_slices(lambda leaf: sizes.append(leaf.shape[0]), opt_state)
    return sizes[0] if sizes else otherwise


def _mean_of_rows(rows: jax.Array) -> jax.Array:
    """Return the mean of what each worker has; of counters the largest."""
    rows = jnp.asarray(rows)
    if jnp.issubdtype(rows.dtype, jnp.inexact):
        return jnp.mean(rows, axis=0).astype(rows.dtype)
    return jnp.max(rows, axis=0)


def _on_one_device(state: _local_step.TrainState) -> _local_step.TrainState:
    """Put every leaf where :func:`simulate` has its workers."""
    (device,) = jnp.zeros(()).devices()
    return jax.tree.map(lambda leaf: jax.device_put(leaf, device), state)


def _place(
    state: _local_step.TrainState,
    specs: _local_step.TrainState,
    inside: _local_step.TrainState | None,
    mesh: Mesh,
) -> _local_step.TrainState:
    """Put every leaf where its spec, or that of the part of the state, says.

    Args:
      state: To be placed.
      specs: Over the workers' axis.
      inside: Over the axes inside of each worker, for each leaf; or None.
      mesh: Where.
    """

    def is_spec(node):
        return isinstance(node, PartitionSpec)

    def put(spec, part, within):
        def put_leaf(leaf, within):
            own = (*spec, *within[len(spec) :]) if spec else within
            return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*own)))

        return jax.tree.map(put_leaf, part, within)

    if inside is None:
        inside = jax.tree.map(lambda _: PartitionSpec(), state)
    return jax.tree.map(put, specs, state, inside, is_leaf=is_spec)
