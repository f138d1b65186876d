"""Local round: what one worker does in a round, to run under any mapped axis."""

from collections.abc import Callable
from typing import Any

import optax

from jaxdist import _checks, _collectives
from jaxdist.recipes import _gradient, _local_step, _rounds


def local_round(
    loss_fn: Callable[..., Any],
    inner: optax.GradientTransformation,
    outer: optax.GradientTransformation,
    axis_name: _collectives.AxisName,
    *,
    inner_state: _rounds.InnerState = "carry",
    correct_drift: bool = False,
    global_momentum: float = 0.0,
    has_aux: bool = False,
    has_state: bool = False,
    micro_batches: int = 1,
    unroll: bool = False,
) -> tuple[_local_step.Init, _local_step.Step]:
    r"""Return what one worker does in a local round: H steps, and one exchange.

    .. math:: y_i \leftarrow x, \quad H \text{ times } y_i \leftarrow y_i +
       \mathrm{inner}(\nabla f_i(y_i)), \quad x \leftarrow x +
       \mathrm{outer}\big(F(x - y_1, \dots, x - y_W)\big)

    :func:`data_parallel` and :func:`simulate` map it for you with ``outer=``. Map it
    yourself inside a ``shard_map``, ``pmap`` or ``scan`` of your own.

    Args:
      loss_fn: As in :func:`data_parallel`.
      inner: Optimizer of each worker's own steps; it must not communicate.
      outer: Optimizer of the displacements, with :func:`aggregate` in it.
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner_state: As in :func:`data_parallel`.
      correct_drift: As in :func:`data_parallel`.
      global_momentum: As in :func:`data_parallel`.
      has_aux: As in :func:`data_parallel`.
      has_state: As in :func:`data_parallel`.
      micro_batches: As in :func:`data_parallel`, of each local step.
      unroll: As in :func:`data_parallel`.

    Returns:
      ``init(params, model_state=()) -> TrainState`` and ``round(state, batches,
      weight=None, steps=None) -> (state, metrics)`` of one worker, to be called under
      the mapped axis. ``batches`` are ``[H, b, ...]``, ``steps`` is how many of them
      this worker takes, int32 of shape ().

    Raises:
      TypeError: If ``loss_fn`` is no function, or an optimizer is none.
      ValueError: If ``inner_state`` is unknown or ``micro_batches`` is below 1; when
        traced, as :func:`local_step` raises, if ``inner`` communicates, or if ``steps``
        comes with ``unroll``.

    Communication:
      That of ``outer``, once for H steps, and an all-reduce of the metrics and of the
      model state.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> outer = optax.chain(jaxdist.aggregate("data"), optax.sgd(1.0))
      >>> init, step = jaxdist.local_round(loss, optax.sgd(0.25), outer, "data")
      >>> def worker(batches):
      ...     state, metrics = step(init(jnp.zeros(())), batches)
      ...     return state.params
      >>> batches = jnp.array([[[1.0], [1.0]], [[3.0], [3.0]]])  # [W, H, b]
      >>> print(jax.vmap(worker, axis_name="data")(batches))
      [1.5 1.5]

    References:
      Douillard et al., `DiLoCo: Distributed Low-Communication Training of Language
      Models <https://arxiv.org/abs/2311.08105>`_, 2023. Stich, `Local SGD Converges
      Fast and Communicates Little <https://arxiv.org/abs/1805.09767>`_, 2019.
    """
    _checks.optimizer("inner", inner)
    _checks.optimizer("outer", outer)
    _checks.axis_name(axis_name)
    rounds = _rounds.checked_rounds(
        inner, outer, axis_name, inner_state, correct_drift, False, global_momentum
    )
    assert rounds is not None  # for type checkers
    loss = _gradient.checked_loss(
        loss_fn, has_aux, has_state, micro_batches, unroll, has_rounds=True
    )

    def init(params, model_state=()):
        return _local_step.TrainState(params, rounds.init(params), model_state)

    step = _local_step.make_step(loss, rounds.transformation, axis_name, False, rounds)
    return init, step
