"""Simulate: many workers on one device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _random, _tree
from jaxdist.layout import _state_specs
from jaxdist.recipes import _local_step, _model_state, _trial
from jaxdist.workers import _worker_state


def simulate(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    num_workers: int,
    axis_name: str,
    *,
    has_aux: bool = False,
    has_state: bool = False,
    micro_batches: int = 1,
    key: int | jax.Array | None = None,
    per_worker_params: bool = False,
) -> tuple[_local_step.Init, _local_step.Step]:
    """Return ``(init, step)`` that train W simulated workers on one device.

    The same as :func:`data_parallel`, with ``vmap`` in place of a mesh: the same
    numbers, and states of the same shapes, so that a checkpoint moves between the two.

    Args:
      loss_fn: As in :func:`data_parallel`.
      tx: As in :func:`data_parallel`.
      num_workers: W.
      axis_name: Name of the mapped axis.
      has_aux: As in :func:`data_parallel`.
      has_state: As in :func:`data_parallel`.
      micro_batches: As in :func:`data_parallel`.
      key: As in :func:`data_parallel`.
      per_worker_params: As in :func:`data_parallel`.

    Returns:
      ``init(params, model_state=()) -> TrainState`` and
      ``step(state, batch, weight=None) -> (state, metrics)``, jitted; ``step`` donates
      the state. ``weight`` ``[W]`` as in :func:`data_parallel`.

    Raises:
      TypeError: If ``loss_fn`` is no function.
      ValueError: If ``num_workers`` is below 1, and as :func:`data_parallel` raises.

    Communication:
      None.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> tx = optax.chain(
      ...     jaxdist.aggregate("worker", jaxdist.rules.median()), optax.sgd(0.5)
      ... )
      >>> init, step = jaxdist.simulate(loss, tx, 3, "worker")
      >>> state, metrics = step(init(jnp.zeros(())), jnp.array([1.0, 3.0, 100.0]))
      >>> print(state.params)
      3.0
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    _checks.axis_name(axis_name)
    worker_step = _local_step.local_step(
        loss_fn,
        tx,
        axis_name,
        has_aux=has_aux,
        has_state=has_state,
        micro_batches=micro_batches,
        per_worker_params=per_worker_params,
    )
    words = () if key is None else _random.key_data(key)
    model_axis = 0 if per_worker_params else None

    def axes_of(opt_state):
        opt_axes = _worker_state.fill_marked(opt_state, 0, None)
        return _local_step.TrainState(model_axis, opt_axes, model_axis, None)

    @jax.jit
    def init(params, model_state=()):
        def make(params):
            return _worker_state.map_slices(lambda leaf: leaf[0], tx.init(params))

        _model_state.check_model_state(model_state)
        specs = _state_specs.state_specs(tx, params, axis_name)
        sizes = {axis_name: num_workers}
        _trial.try_optimizer(tx, params, axis_name, sizes, per_worker_params)
        made = jax.vmap(
            make,
            in_axes=None,
            out_axes=_worker_state.fill_marked(specs, 0, None),
            axis_size=num_workers,
            axis_name=axis_name,
        )(params)

        def place(leaf):
            leaf = jnp.asarray(leaf)
            shape = (num_workers, *leaf.shape) if per_worker_params else leaf.shape
            return jnp.broadcast_to(leaf, shape).copy()

        params, model_state = jax.tree.map(place, (params, model_state))
        return _local_step.TrainState(params, made, model_state, words)

    def worker(state, batch, weight):
        # Inside, a slice has a leading axis of size 1, as on a mesh.
        state = _worker_state.map_slices(lambda leaf: leaf[None], state)
        state, metrics = worker_step(state, batch, weight)
        return _worker_state.map_slices(lambda leaf: leaf[0], state), metrics

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, batch, weight=None):
        axes = axes_of(state.opt_state)
        mapped = jax.vmap(worker, (axes, 0, 0), (axes, None), axis_name=axis_name)
        if weight is not None:
            weight = _checked_weights(weight, num_workers)
        return mapped(state, split_batch(batch, num_workers), weight)

    return init, step


def _checked_weights(weight: Any, num_workers: int) -> jax.Array:
    """Return one number for each worker, or raise."""
    weight = jnp.asarray(weight)
    if weight.shape != (num_workers,):
        raise ValueError(
            f"`weight` must have one number for each worker, the shape "
            f"({num_workers},), got {weight.shape}."
        )
    return weight


def split_batch(batch: Any, num_workers: int) -> Any:
    """Cut a batch into one part for each worker."""

    def cut(path, leaf):
        if not jnp.ndim(leaf) or leaf.shape[0] % num_workers:
            raise ValueError(
                f"`batch` must have a leading axis that {num_workers} workers divide, "
                f"but leaf {_tree.path_name(path)!r} has shape {jnp.shape(leaf)}."
            )
        return leaf.reshape(num_workers, -1, *leaf.shape[1:])

    return jax.tree.map_with_path(cut, batch)
