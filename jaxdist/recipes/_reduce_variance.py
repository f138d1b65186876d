"""Reduce variance: a gradient, and how wrong the last one was, on the same batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _tree


class ReduceVarianceState(NamedTuple):
    """State of :func:`reduce_variance`."""

    count: jax.Array  # int32, shape (); the same for all as any other inner state is
    previous: Any  # parameters of the last step, as params are
    direction: Any  # what the last step went along; params in float32 or wider


def reduce_variance(decay: float = 1.0) -> optax.GradientTransformationExtraArgs:
    r"""Correct the last direction by what this batch says of the last parameters.

    .. math:: v_\tau = g(w_\tau; B_\tau) +
       \rho\,\big(v_{\tau-1} - g(w_{\tau-1}; B_\tau)\big), \qquad v_0 = g(w_0; B_0)

    Two gradients of one batch have much of their noise in common, which the difference
    takes away. Put it first in the inner optimizer of local rounds, which gives it the
    second gradient: for twice the gradients, and no message.

    Args:
      decay: :math:`\rho` in [0, 1], no unit; 1 is the algorithm, 0 no correction. Where
        workers have very different data the authors needed 0.8.

    Returns:
      A transformation that keeps structure, shapes and dtypes.

    Raises:
      ValueError: If ``decay`` is outside [0, 1]; in ``update``, if ``params`` or
        ``gradient_at=`` is missing, which rounds give: a function from parameters to
        the gradient of the batch there.
      TypeError: In ``init``, if a leaf is not floating-point.

    Communication:
      None.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2) / 2
      >>> inner = optax.chain(jaxdist.reduce_variance(), optax.sgd(0.5))
      >>> outer = optax.chain(jaxdist.aggregate("data"), optax.sgd(1.0))
      >>> init, step = jaxdist.simulate(
      ...     loss, inner, 2, "data", outer=outer, inner_state="reset"
      ... )
      >>> batches = jnp.array([[1.0, 1.0], [9.0, 9.0]])  # noise of 8 in the second
      >>> print(step(init(jnp.zeros(())), batches)[0].params)
      0.75

    References:
      Das et al., `Faster Non-Convex Federated Learning via Global and Local Momentum
      <https://arxiv.org/abs/2012.04061>`_, 2022, Algorithm 2 (FedLOMO). The gradient of
      the first step there is that of all data of a worker; here it is that of the first
      batch, which may be as large. Cutkosky, Orabona, `Momentum-Based Variance
      Reduction in Non-Convex SGD <https://arxiv.org/abs/1905.10018>`_, 2019 (STORM).
    """
    decay = _checks.real("decay", decay, 0.0, 1.0)

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        previous = jax.tree.map(jnp.zeros_like, params)
        direction = jax.tree.map(_tree.wide_zeros, params)
        return ReduceVarianceState(jnp.zeros((), jnp.int32), previous, direction)

    def update(updates, state, params=None, *, gradient_at=None, **extra_args):
        del extra_args
        _checks.own_state(state, ReduceVarianceState, "reduce_variance")
        _tree.check_arrays("updates", updates)
        if params is None or gradient_at is None:
            missing = "params" if params is None else "gradient_at"
            raise ValueError(
                f"`{missing}` is missing: reduce_variance needs the gradient of this "
                "batch at the parameters of the step before, which local rounds "
                "(`outer=`) give to their inner optimizer. Or call tx.update(updates, "
                "state, params, gradient_at=function from parameters to a gradient)."
            )
        is_first = state.count == 0
        previous = jax.tree.map(
            lambda new, old: jnp.where(is_first, new, old), params, state.previous
        )

        def correct(now, before, direction):
            wide = now.astype(direction.dtype)
            wrong = direction - before.astype(direction.dtype)
            # Before the first step there was none.
            wrong = jnp.where(is_first, 0, wrong)
            return wide + jnp.asarray(decay, direction.dtype) * wrong

        direction = jax.tree.map(
            correct, updates, gradient_at(previous), state.direction
        )
        seen = jax.tree.map(lambda d, u: d.astype(u.dtype), direction, updates)
        count = _tree.next_count(state.count)
        return seen, ReduceVarianceState(count, params, direction)

    return optax.GradientTransformationExtraArgs(init, update)
