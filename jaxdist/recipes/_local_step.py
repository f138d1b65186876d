"""Local step: what one worker does in a training step."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random
from jaxdist.recipes import _frozen, _gradient, _model_state, _rounds
from jaxdist.workers import _weight


class Step(Protocol):
    """A training step."""

    def __call__(
        self, state: "TrainState", batch: Any, weight: Any = None, steps: Any = None
    ) -> tuple["TrainState", dict[str, jax.Array]]:
        """Return the state after the step, and its metrics."""
        ...


class JittedStep(Step, Protocol):
    """A training step that is compiled."""

    def lower(
        self, state: "TrainState", batch: Any, weight: Any = None, steps: Any = None
    ) -> jax.stages.Lowered:
        """Return the program of such a step, to be looked at or compiled ahead."""
        ...


class Init(Protocol):
    """Makes what a training step carries on."""

    def __call__(self, params: Any, model_state: Any = ()) -> "TrainState":
        """Return the state before the first step."""
        ...


class TrainState(NamedTuple):
    """What a training step carries on."""

    params: Any  # parameters; equal on all workers, or each worker's own
    opt_state: Any  # state of the optimizer
    model_state: Any = ()  # of the model, as params are; () where there is none
    key: Any = ()  # words of a key, uint32; the same for all; () where none is drawn


def local_step(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    axis_name: _collectives.AxisName,
    *,
    has_aux: bool = False,
    has_state: bool = False,
    micro_batches: int = 1,
    unroll: bool = False,
    per_worker_params: bool = False,
) -> Step:
    """Return what one worker does in a step, to run under any mapped axis.

    :func:`data_parallel` and :func:`simulate` map it for you. Map it yourself with
    ``jax.pmap``, or inside a ``shard_map`` or ``scan`` of your own.

    Args:
      loss_fn: As in :func:`data_parallel`.
      tx: The whole optimizer. It gets this worker's loss as ``value=``.
      axis_name: Mapped axis of the workers, or a tuple of axes.
      has_aux: As in :func:`data_parallel`.
      has_state: As in :func:`data_parallel`.
      micro_batches: As in :func:`data_parallel`.
      unroll: As in :func:`data_parallel`.
      per_worker_params: Whether each worker has parameters and a model state of its
        own; else model states are averaged.

    Returns:
      ``step(state, batch, weight=None) -> (state, metrics)``. The metrics hold
      ``"loss"`` and those of ``loss_fn``, as means over the workers. A ``weight`` says
      how much this worker counts, in these means and in ``tx``; 0 is absent: see
      :func:`aggregate`. Where all are absent the metrics are NaN. With a
      ``TrainState.key``, such as ``jax.random.key_data(jax.random.key(0))``,
      ``loss_fn`` gets a key of its own for each worker, step and micro-batch.

    Raises:
      TypeError: If ``loss_fn`` is no function.
      ValueError: If ``micro_batches`` is below 1, or 1 with ``unroll``; when traced, if
        ``loss_fn`` returns something else than it should, or a metric called
        ``"loss"``, or if ``micro_batches`` does not divide the batch.

    Communication:
      That of ``tx``, and an all-reduce of the metrics and of the model state.

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
    _checks.optimizer("tx", tx)
    _checks.axis_name(axis_name)
    _checks.flag("per_worker_params", per_worker_params)
    loss = _gradient.checked_loss(
        loss_fn, has_aux, has_state, micro_batches, unroll, has_rounds=False
    )

    return make_step(loss, tx, axis_name, per_worker_params, None)


def make_step(
    loss: _gradient.Loss,
    tx: optax.GradientTransformation,
    axis_name: _collectives.AxisName,
    per_worker_params: bool,
    rounds: _rounds.Rounds | None,
) -> Step:
    """Return what one worker does in a step, or in a local round."""

    def step(state, batch, weight=None, steps=None):
        outcome = find_gradient(loss, state, batch, axis_name, rounds, steps)
        return apply_gradient(tx, axis_name, per_worker_params, state, outcome, weight)

    return step


def find_gradient(
    loss: _gradient.Loss,
    state: TrainState,
    batch: Any,
    axis_name: _collectives.AxisName,
    rounds: _rounds.Rounds | None = None,
    steps: jax.Array | None = None,
) -> _gradient.Outcome:
    """Return what this worker finds out about its part of the batch, and tells nobody.

    Args:
      loss: The loss.
      state: Of this worker; the state of the optimizer is read by rounds alone.
      batch: This worker's part; of a round ``[H, b, ...]``.
      axis_name: Of the workers.
      rounds: How workers step on their own, or None.
      steps: How many steps of a round this worker takes; None for all.
    """
    key = None
    if has_key(state):
        now, _ = _random.split_data(state.key)
        key = _random.own_key(now, _collectives.axis_index(axis_name))
    if rounds is not None:
        params, opt_state, model_state, _ = state
        return rounds.walk(loss, params, opt_state, model_state, batch, key, steps)
    if steps is not None:
        raise ValueError(
            "`steps` says how many local steps each worker takes in a round, and there "
            "are none without `outer`."
        )
    return _gradient.differentiate(
        loss, axis_name, state.params, state.model_state, batch, key
    )


def has_key(state: TrainState) -> bool:
    """Whether the loss draws something."""
    return not isinstance(state.key, tuple)


def apply_gradient(
    tx: optax.GradientTransformation,
    axis_name: _collectives.AxisName,
    per_worker_params: bool,
    state: TrainState,
    outcome: _gradient.Outcome,
    weight: _weight.Weight | None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the state after a step, and the means of the metrics.

    Args:
      tx: The whole optimizer.
      axis_name: Of the workers.
      per_worker_params: Whether model states stay each worker's own.
      state: Before the step.
      outcome: This worker's.
      weight: This worker's, or None.
    """
    extra = {"value": outcome.loss}
    if outcome.walked is not None:
        extra["walked"] = outcome.walked
    if weight is not None:
        extra["weight"] = _weight.weight_of_levels(weight, axis_name)
    params, opt_state = update_params(
        tx, axis_name, outcome.grads, state.opt_state, state.params, **extra
    )
    state = state._replace(params=params, opt_state=opt_state)
    return finish_step(axis_name, per_worker_params, state, outcome, weight)


def finish_step(
    axis_name: _collectives.AxisName,
    per_worker_params: bool,
    state: TrainState,
    outcome: _gradient.Outcome,
    weight: _weight.Weight | None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the state with its next model state and key, and the means of the metrics.

    Args:
      axis_name: Of the workers.
      per_worker_params: Whether model states stay each worker's own.
      state: With the parameters after the step, and all else from before.
      outcome: This worker's.
      weight: This worker's, or None.
    """
    metrics = {"loss": outcome.loss, **outcome.metrics}
    seen = _weight_of_seen(outcome, weight, axis_name)
    means = _model_state.means_over_workers(metrics, seen, axis_name)
    model_state = outcome.model_state
    if not per_worker_params:
        model_state = _model_state.merge_model_states(
            model_state, state.model_state, weight, axis_name
        )
    key = _random.split_data(state.key)[1] if has_key(state) else state.key
    return state._replace(model_state=model_state, key=key), means


def _weight_of_seen(outcome, weight, axis_name):
    """Return how much a worker counts in the means of what was seen."""
    if outcome.has_seen is None:
        return weight
    own = jnp.ones(()) if weight is None else _weight.own_weight(weight, axis_name)
    return jnp.where(outcome.has_seen, own, 0)


def update_params(
    tx: optax.GradientTransformation,
    axis_name: _collectives.AxisName,
    grads: Any,
    opt_state: Any,
    params: Any,
    **extra: Any,
) -> tuple[Any, Any]:
    """Return the parameters and the state of the optimizer after a step.

    Parameters whose updates are zero for sure are not touched, so that they keep the
    type of what is the same on all workers.
    """
    update = optax.with_extra_args_support(tx).update
    updates, after = update(grads, opt_state, params, **extra)
    stepped = optax.apply_updates(params, updates)

    def gains_type(old, new):
        shared = not _collectives.is_varying(old, axis_name)
        return shared and _collectives.is_varying(new, axis_name)

    if not any(jax.tree.leaves(jax.tree.map(gains_type, params, stepped))):
        return stepped, after

    def update_alone(grads, opt_state, params, extra):
        return update(grads, opt_state, params, **extra)[0]

    frozen = _frozen.always_zero(update_alone, grads, opt_state, params, extra)
    kept = jax.tree.map(
        lambda zero, old, new: old if zero else new, frozen, params, stepped
    )
    return kept, after
