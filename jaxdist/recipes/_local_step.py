"""Local step: what one worker does in a training step."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxdist import _collectives
from jaxdist.layout import _value_and_grad
from jaxdist.workers import _weight


class Step(Protocol):
    """A training step."""

    def __call__(
        self, state: "TrainState", batch: Any, weight: Any = None
    ) -> tuple["TrainState", dict[str, jax.Array]]:
        """Return the state after the step, and its metrics."""
        ...


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
) -> Step:
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
      ``step(state, batch, weight=None) -> (state, metrics)``. The metrics hold
      ``"loss"`` and those of ``loss_fn``, as means over the workers. A ``weight`` says
      how much this worker counts, in these means and in ``tx``; 0 is absent: see
      :func:`aggregate`. Where all are absent the metrics are NaN.

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

    def step(state, batch, weight=None):
        (loss, metrics), grads = differentiate(state.params, batch)
        extra = {"value": loss}
        if weight is not None:
            extra["weight"] = _weight.weight_of_levels(weight, axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        means = _means_over_workers({"loss": loss, **metrics}, weight, axis_name)
        return TrainState(params, opt_state), means

    return step


def _means_over_workers(metrics, weight, axis_name):
    """Return the means of the metrics, equal on all workers."""
    if weight is None:
        num_workers = _collectives.axis_size(axis_name)
        total = _collectives.psum(metrics, axis_name)
        return jax.tree.map(lambda x: x / num_workers, total)
    own = _weight.own_weight(weight, axis_name)

    def weigh(leaf):
        # The metrics of an absent worker may be anything.
        share = own.astype(jnp.result_type(leaf, jnp.float32))
        return (
            jnp.where(own > 0, leaf, jnp.zeros_like(leaf)).astype(share.dtype) * share
        )

    total, number = _collectives.psum((jax.tree.map(weigh, metrics), own), axis_name)
    return jax.tree.map(lambda x: x / number.astype(x.dtype), total)
