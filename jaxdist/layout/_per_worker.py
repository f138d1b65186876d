"""Per worker: a transformation whose state is each worker's own.

Keys inside `per_worker` are folded with the worker's index, so that the noise of optax
becomes independent between workers without a change of optax. In simulated time that is
who arrives: a place among those who meet belongs to another worker in every update.
"""

import jax
import optax

from jaxdist import _checks, _collectives, _random, _traffic
from jaxdist.workers import _arrival, _worker_state


def per_worker(
    axis_name: _collectives.AxisName, inner: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Give each worker a state of its own for a local transformation.

    Wrap what handles updates before they are aggregated: momentum at the workers,
    noise, delays. Keys inside the state are folded with the worker's index, so that
    workers draw independently; plain optax noise is the same on all of them.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner: Any transformation that does not communicate.

    Returns:
      A transformation with the updates of ``inner``. Every leaf of its state has a
      leading axis of size 1, this worker's slice of an array ``[W, ...]``;
      :func:`state_specs` shards it over ``axis_name``.

    Raises:
      ValueError: If ``axis_name`` is no name; in ``init``, if ``inner`` holds
        ``optax.MultiSteps``, whose zeros what follows would take for gradients; in
        ``update``, if ``inner`` communicates.
      TypeError: If ``inner`` is no transformation.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     jaxdist.per_worker("data", optax.ema(0.9)),
      ...     jaxdist.aggregate("data", rule=jaxdist.rules.median()),
      ...     optax.sgd(0.1),
      ... )
      >>> state = tx.init({"w": jnp.zeros(3)})
      >>> print(state[0].inner_state.ema["w"].shape)
      (1, 3)

    References:
      Karimireddy et al., `Learning from History for Byzantine Robust Optimization
      <https://arxiv.org/abs/2012.10333>`_, 2021, for momentum at the workers.
    """
    _checks.axis_name(axis_name)
    _checks.optimizer("inner", inner)
    inner = optax.with_extra_args_support(inner)
    origin = f"per_worker over {axis_name}"

    def init(params):
        own = inner.init(_collectives.to_varying(params, axis_name))
        _check_every_step(own)
        return _worker_state.attach_axis(own, axis_name)

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, _worker_state.PerWorkerState, "per_worker")
        who = _arrival.identity_of(extra_args.get("arrival"), axis_name)

        def fold(key):
            return _random.own_key(_random.named_key(key, origin), who.index)

        own = _random.map_keys(fold, _worker_state.detach_axis(state))
        with _traffic.silence(origin):
            updates, own = inner.update(updates, own, params, **extra_args)
        return updates, _worker_state.attach_axis(own, axis_name)

    return optax.GradientTransformationExtraArgs(init, update)


def _check_every_step(state):
    """Raise for what lets nothing pass in most steps: others would take it for zero."""

    def is_slow(node):
        return isinstance(node, optax.MultiStepsState)

    if any(map(is_slow, jax.tree.leaves(state, is_leaf=is_slow))):
        raise ValueError(
            "`inner` must not hold optax.MultiSteps: in the steps in which it only "
            "accumulates, what follows would take its zeros for gradients. Use "
            "`micro_batches` of a recipe, or average the gradients of several "
            "micro-batches before tx.update."
        )
