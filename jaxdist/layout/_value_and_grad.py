"""Value and grad: this worker's own gradient, however the workers are mapped."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxdist import _checks, _collectives


def value_and_grad(
    fun: Callable[..., Any],
    axis_name: _collectives.AxisName,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    **kwargs: Any,
) -> Callable[..., tuple[Any, Any]]:
    """Differentiate as ``jax.value_and_grad``, for this worker alone.

    Under ``shard_map`` with ``check_vma=True``, its default, the gradient of replicated
    parameters is summed over the workers before any code sees it, so that nothing is
    left to compress or to check. Here it never is.

    Args:
      fun: Function of which the ``argnums`` are differentiated.
      axis_name: Mapped axis of the workers, or a tuple of axes.
      argnums: As in JAX.
      has_aux: As in JAX.
      **kwargs: Further arguments of ``jax.value_and_grad``.

    Returns:
      A function with the arguments of ``fun`` that returns what
      ``jax.value_and_grad(fun)`` would; the gradient differs between workers.

    Raises:
      ValueError: If ``axis_name`` is no name.

    Communication:
      None.

    Example:
      >>> def loss(weight, inputs):
      ...     return jnp.sum(weight * inputs)
      >>> grad = jaxdist.value_and_grad(loss, "data")
      >>> workers = jax.vmap(grad, in_axes=(None, 0), axis_name="data")
      >>> losses, gradients = workers(2.0, jnp.array([1.0, 3.0]))
      >>> print(losses, gradients)
      [2. 6.] [1. 3.]
    """
    _checks.function("fun", fun, "of the parameters that returns a scalar")
    _checks.axis_name(axis_name)
    _checks.flag("has_aux", has_aux)
    listed = argnums if isinstance(argnums, Sequence) else (argnums,)
    positions = [_checks.integer("argnums", place, -math.inf) for place in listed]
    differentiate = jax.value_and_grad(fun, argnums, has_aux=has_aux, **kwargs)

    def wrapped(*args, **named):
        own = list(args)
        for position in positions:
            own[position] = _collectives.to_varying(args[position], axis_name)
        return differentiate(*own, **named)

    return wrapped
