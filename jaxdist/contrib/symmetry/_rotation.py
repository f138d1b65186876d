"""Rotation: the symmetry of a loss that is a squared distance in other coordinates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.contrib.symmetry import _action


def rotation(
    to_plane: Callable[[Any], jax.Array], from_plane: Callable[[jax.Array], Any]
) -> _action.Action:
    r"""Rotate a plane in which the loss is the squared distance from zero.

    .. math:: L(w) = \|u(w)\|^2, \qquad w \mapsto u^{-1}(R_\vartheta\, u(w))

    Args:
      to_plane: :math:`u`, from parameters to an array ``[2]``.
      from_plane: :math:`u^{-1}`, its inverse.

    Returns:
      The action of the rotations, by an angle in radians. It needs no batch.

    Raises:
      TypeError: If an argument is no function.
      ValueError: In use, if ``to_plane`` does not return ``[2]``.

    Communication:
      None.

    Example:
      >>> action = jaxdist.contrib.symmetry.rotation(  # for the loss 9 x^2 + y^2
      ...     lambda w: jnp.stack([3 * w[0], w[1]]),
      ...     lambda u: jnp.stack([u[0] / 3, u[1]]),
      ... )
      >>> print(action.move(jnp.pi / 2, jnp.array([0.0, 3.0]), None).round(3))
      [-1. -0.]

    References:
      Zhao et al., `Symmetry Teleportation for Accelerated Optimization
      <https://arxiv.org/abs/2205.10637>`_, 2022: Booth's and Rosenbrock's functions.
    """
    _checks.function("to_plane", to_plane, "params -> [2]")
    _checks.function("from_plane", from_plane, "[2] -> params")

    def start(params):
        point = jax.eval_shape(to_plane, params)
        if getattr(point, "shape", None) != (2,):
            raise ValueError(f"`to_plane` must return an array [2], got {point}.")
        return jnp.zeros((), point.dtype)

    def move(angle, params, batch):
        del batch
        first, second = to_plane(params)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return from_plane(
            jnp.stack([cos * first - sin * second, sin * first + cos * second])
        )

    return _action.Action(start, move, "rotation()")
