"""Teleport: jump along a level set of the loss to where its gradient is larger.

No group that is not compact has a best move: the gradient can be made as large as one
likes. So a move has a cap, and what teleporting does to training is what a cap makes of
it. docs/symmetry.md measures that.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.contrib.symmetry import _action


class TeleportMetrics(NamedTuple):
    """What :func:`teleport` changed."""

    loss_change: jax.Array  # dtype of the loss, (): relative to the loss before
    gradient_ratio: jax.Array  # float32 or wider, (): of the squared norms, >= 1


class _PlaceView(NamedTuple):
    """What is seen from one set of parameters."""

    loss: jax.Array
    square: jax.Array  # squared norm of the gradient
    direction: Any  # amount of norm 1 with which that grows most, or zeros


def teleport(
    loss: Callable[[Any, Any], jax.Array],
    params: Any,
    action: _action.Action,
    batch: Any,
    steps: int = 8,
    cap: float = 0.05,
    *,
    tolerance: float = 1e-6,
) -> tuple[Any, TeleportMetrics]:
    r"""Move parameters so that the loss stays and the norm of its gradient grows.

    .. math:: T = c\, \frac{D}{\|D\|_F}, \qquad
       D = \frac{\partial}{\partial T} \|\nabla L(T \cdot w)\|^2 \Big|_{T = 0}, \qquad
       w \mapsto T \cdot w

    A move that changes the loss by more than ``tolerance`` is not made. After it, or
    where the next move would go back, moves are half as long. What is returned is the
    place with the largest gradient, which may be the first. States of optimizers stay
    as they are.

    Args:
      loss: ``loss(params, batch)``, a scalar, twice differentiable.
      params: Tree of arrays, float32 or wider. In narrower ones no change of the loss
        is seen that matters.
      action: Which moves keep the loss: :func:`layer_pairs`, :func:`rotation` or an
        :class:`Action` of your own.
      batch: What ``loss`` takes, the same on all workers.
      steps: Moves that are tried, at least 1. Each takes second derivatives.
      cap: :math:`c`, above 0: Frobenius norm of all amounts of the first move, radians
        for a rotation.
      tolerance: Largest change of the loss in all, at least 0, relative to the loss
        before.

    Returns:
      Parameters of the same structure, shapes and dtypes, and what changed.

    Raises:
      TypeError: If ``loss`` cannot be called, ``action`` is no action, or ``params``
        are complex, integers or narrower than float32.
      ValueError: If ``steps`` is below 1, ``cap`` not above 0 or ``tolerance`` below 0;
        and as the action raises.

    Communication:
      None.

    Example:
      >>> symmetry = jaxdist.contrib.symmetry
      >>> def loss(w, batch):
      ...     return 9 * w[0] ** 2 + w[1] ** 2
      >>> action = symmetry.rotation(
      ...     lambda w: jnp.stack([3 * w[0], w[1]]),
      ...     lambda u: jnp.stack([u[0] / 3, u[1]]),
      ... )
      >>> start = jnp.array([0.1, 3.0])
      >>> w, seen = symmetry.teleport(loss, start, action, None, steps=20, cap=0.5)
      >>> print(f"{loss(start, None):.3f} {loss(w, None):.3f}")
      9.090 9.090
      >>> print(jnp.abs(w.round(2)), f"{seen.gradient_ratio:.1f}")
      [1. 0.] 8.3

    References:
      Zhao et al., `Symmetry Teleportation for Accelerated Optimization
      <https://arxiv.org/abs/2205.10637>`_, 2022. Their moves are of first order in T,
      and change the loss; their step is a rate, without a cap.
    """
    _checks.function("loss", loss, "loss(params, batch)")
    example = "jaxdist.contrib.symmetry.layer_pairs()"
    _checks.instance("action", action, _action.Action, example)
    steps = _checks.integer("steps", steps, 1)
    cap = _checks.real("cap", cap, 0.0, above=True)
    tolerance = _checks.real("tolerance", tolerance, 0.0)
    _check_params(params)

    def try_place(carry, _):
        there, here, best, length = carry
        there = there, _view_from(loss, there, action, batch)
        allowed = jnp.asarray(tolerance, before.dtype) * jnp.abs(before)
        keeps = jnp.abs(there[1].loss - before) <= allowed
        keeps &= jnp.isfinite(there[1].square)
        # A smaller gradient alone may be a kink of the loss on the way to larger ones.
        goes_on = keeps & (_inner_product(here[1].direction, there[1].direction) >= 0)
        length = jnp.where(goes_on, length, length / 2)
        here = _chosen_trees(keeps, there, here)
        best = _chosen_trees(here[1].square > best[1].square, here, best)
        amount = jax.tree.map(lambda d: length.astype(d.dtype) * d, here[1].direction)
        return (action.move(amount, here[0], batch), here, best, length), here[1].square

    before = loss(params, batch)
    dtype = _tree.accumulator_dtype(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    unseen = _PlaceView(before, jnp.asarray(-jnp.inf, dtype), action.start(params))
    place = params, unseen  # of which the first round sees the gradient
    carry = params, place, place, jnp.asarray(cap, dtype)
    (_, _, (params, best), _), squares = jax.lax.scan(
        try_place, carry, length=steps + 1
    )
    growth = _relative_change(squares[0], best.square)
    return params, TeleportMetrics(_relative_change(before, best.loss), 1 + growth)


def _check_params(params):
    """Raise where the loss could not be seen to stay, or has no real gradient."""
    _tree.check_arrays("params", params)
    for name, leaf in _tree.named_leaves(params):
        is_real = jnp.issubdtype(leaf.dtype, jnp.floating)
        if not is_real or jnp.finfo(leaf.dtype).bits < 32:
            raise TypeError(
                "`params` must be real, in float32 or wider, so that a change of the "
                f"loss is seen; got leaf {name!r} of {leaf.dtype}."
            )


def _chosen_trees(condition, first, second):
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), first, second)


def _view_from(loss, params, action, batch) -> _PlaceView:
    """Return the loss, its gradient's squared norm, and where that grows most."""

    def square_at(amount):
        moved = action.move(amount, params, batch)
        gradient = jax.grad(loss)(moved, batch)
        return _inner_product(gradient, gradient)

    square, direction = jax.value_and_grad(square_at)(action.start(params))
    return _PlaceView(loss(params, batch), square, _unit_tree(direction))


def _inner_product(first, second) -> jax.Array:
    """Return the sum of the products of all elements."""
    pairs = zip(*map(jax.tree.leaves, (first, second)), strict=True)
    sums = [jnp.sum(_tree.widened(x) * _tree.widened(y)) for x, y in pairs]
    dtype = _tree.accumulator_dtype(*(total.dtype for total in sums))
    return sum((total.astype(dtype) for total in sums), jnp.zeros((), dtype))


def _unit_tree(tree):
    """Return the tree with norm 1; zeros stay."""
    largest = jnp.max(
        jnp.stack([jnp.max(jnp.abs(_tree.widened(x))) for x in jax.tree.leaves(tree)])
    )
    # First by the largest element: squares of tiny ones are zero.
    scaled = _divided_tree(tree, jnp.where(largest > 0, largest, 1))
    norm = jnp.sqrt(_inner_product(scaled, scaled))
    return _divided_tree(scaled, jnp.where(norm > 0, norm, 1))


def _divided_tree(tree, scale):
    return jax.tree.map(lambda leaf: leaf / scale.astype(leaf.dtype), tree)


def _relative_change(before, after):
    """Return the change relative to what was before; no change is 0 of anything."""
    change = after - before
    is_none = change == 0
    return jnp.where(is_none, 0, change / jnp.where(is_none, 1, jnp.abs(before)))
