"""Simulate: many workers on one device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _random
from jaxdist.fragments import _fragments
from jaxdist.recipes import (
    _batches,
    _gradient,
    _local_step,
    _model_state,
    _rounds,
    _rows,
    _streaming,
    _trial,
    _worker_maps,
)
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
    unroll: bool = False,
    key: int | jax.Array | None = None,
    per_worker_params: bool = False,
    outer: optax.GradientTransformation | None = None,
    inner_state: _rounds.InnerState = "carry",
    correct_drift: bool = False,
    global_momentum: float = 0.0,
    fragments: _fragments.Fragments | None = None,
    overlap: int = 0,
    keep_local: float = 0.0,
) -> tuple[_local_step.Init, _local_step.JittedStep]:
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
      unroll: As in :func:`data_parallel`.
      key: As in :func:`data_parallel`.
      per_worker_params: As in :func:`data_parallel`.
      outer: As in :func:`data_parallel`.
      inner_state: As in :func:`data_parallel`.
      correct_drift: As in :func:`data_parallel`.
      global_momentum: As in :func:`data_parallel`.
      fragments: As in :func:`data_parallel`.
      overlap: As in :func:`data_parallel`.
      keep_local: As in :func:`data_parallel`.

    Returns:
      ``init(params, model_state=()) -> TrainState`` and ``step(state, batch,
      weight=None, steps=None) -> (state, metrics)``, jitted; ``step`` donates the
      state. ``weight`` and ``steps`` ``[W]`` as in :func:`data_parallel`.

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
    streaming = _streaming.checked_streaming(rounds, fragments, overlap, keep_local)
    loss = _gradient.checked_loss(
        loss_fn,
        has_aux,
        has_state,
        micro_batches,
        unroll,
        has_rounds=rounds is not None,
    )
    tx = _streaming.transformation_of(tx, rounds, streaming)
    worker_step = _local_step.make_step(loss, tx, axis_name, per_worker_params, rounds)
    words = () if key is None else _random.key_data(key)
    model_axis = 0 if per_worker_params else None

    def axes_of(opt_state):
        opt_axes = _worker_state.fill_marked(opt_state, 0, None)
        return _local_step.TrainState(model_axis, opt_axes, model_axis, None)

    @jax.jit
    def init(params, model_state=()):
        _model_state.check_model_state(model_state)
        sizes = {axis_name: num_workers}
        _trial.try_optimizer(tx, params, axis_name, sizes, per_worker_params)
        made = _rows.init_rows(tx, params, axis_name, num_workers)

        copies = num_workers if per_worker_params else None
        params, model_state = _rows.copy_leaves((params, model_state), copies)
        return _local_step.TrainState(params, made, model_state, words)

    def worker(state, batch, weight, steps):
        # Inside, a slice has a leading axis of size 1, as on a mesh.
        state = _worker_state.map_slices(lambda leaf: leaf[None], state)
        state, metrics = worker_step(state, batch, weight, steps)
        return _worker_state.map_slices(lambda leaf: leaf[0], state), metrics

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, batch, weight=None, steps=None):
        before = 0 if rounds is None else 1  # axes of the batch before the workers'
        batch = _batches.split_batch(batch, num_workers, before)
        if weight is not None:
            weight = _numbers_of_workers("weight", weight, num_workers)
        if steps is not None:
            steps = _numbers_of_workers("steps", steps, num_workers)
        if streaming is not None:
            workers = _worker_maps.OnRows(axis_name)
            return streaming.run(loss, workers, state, batch, weight, steps)
        axes = axes_of(state.opt_state)
        in_axes = axes, before, 0, 0
        mapped = jax.vmap(worker, in_axes, (axes, None), axis_name=axis_name)
        return mapped(state, batch, weight, steps)

    return init, step


def _numbers_of_workers(name: str, value: Any, num_workers: int) -> jax.Array:
    """Return one number for each worker, or raise."""
    value = jnp.asarray(value)
    if value.shape != (num_workers,):
        raise ValueError(
            f"`{name}` must have one number for each worker, the shape "
            f"({num_workers},), got {value.shape}."
        )
    return value
