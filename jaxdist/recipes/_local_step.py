"""Local step: what one worker does in a training step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jaxdist import _collectives
from jaxdist.layout import _value_and_grad


class TrainState(NamedTuple):
    """What a training step carries on."""

    params: Any  # parameters; equal on all workers, or each worker's own
    opt_state: Any  # state of the optimizer


def local_step(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    axis_name: _collectives.AxisName,
    *,
    has_aux: bool = False,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]:
    """Return what one worker does in a step, to run under any mapped axis.

    :func:`data_parallel` and :func:`simulate` map it for you. Map it yourself with
    ``jax.pmap``, or inside a ``shard_map`` or ``scan`` of your own.

    Args:
      loss_fn: ``(params, batch) -> loss`` of this worker's part of the batch, a scalar;
        with ``has_aux`` ``(loss, metrics)``, a dict of arrays.
      tx: The whole optimizer. It gets this worker's loss as ``value=``.
      axis_name: Mapped axis of the workers, or a tuple of axes.
      has_aux: Whether ``loss_fn`` returns metrics.

    Returns:
      ``step(state, batch) -> (state, metrics)``. The metrics hold ``"loss"`` and those
      of ``loss_fn``, as means over the workers.

    Raises:
      ValueError: When traced, if a metric is called ``"loss"``.

    Communication:
      That of ``tx``, and an all-reduce of the metrics.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> tx = optax.chain(jaxdist.aggregate("data"), optax.sgd(0.5))
      >>> step = jaxdist.local_step(loss, tx, "data")
      >>> state = jaxdist.TrainState(jnp.zeros(()), tx.init(jnp.zeros(())))
      >>> workers = jax.vmap(step, (None, 0), axis_name="data")
      >>> state, metrics = workers(state, jnp.array([[1.0], [3.0]]))
      >>> print(state.params, metrics["loss"])
      [2. 2.] [5. 5.]
    """
    tx = optax.with_extra_args_support(tx)

    def loss_and_metrics(params, batch):
        out = loss_fn(params, batch)
        loss, metrics = out if has_aux else (out, {})
        if "loss" in metrics:
            raise ValueError(
                "`loss_fn` must not return a metric called 'loss': that is where the "
                "loss itself goes."
            )
        return loss, metrics

    differentiate = _value_and_grad.value_and_grad(
        loss_and_metrics, axis_name, has_aux=True
    )

    def step(state, batch):
        (loss, metrics), grads = differentiate(state.params, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        num_workers = _collectives.axis_size(axis_name)
        total = _collectives.psum({"loss": loss, **metrics}, axis_name)
        means = jax.tree.map(lambda x: x / num_workers, total)
        return TrainState(params, opt_state), means

    return step
