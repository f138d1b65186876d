"""Gradient: from a user's loss, and all that it carries along, to one worker's step.

Types of a mapped axis belong to the optimizer, not to the loss: here nothing asks for
them, so that a loss may be differentiated where none are tracked.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _tree
from jaxdist.layout import _value_and_grad


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss as the recipes take it, and what it takes and returns."""

    function: Callable[..., Any]
    has_aux: bool
    has_state: bool
    micro_batches: int
    unroll: bool  # whether loops over local steps and micro-batches are written out


class Outcome(NamedTuple):
    """What one worker found out about its part of the batch."""

    loss: jax.Array
    metrics: dict[str, jax.Array]
    model_state: Any  # after this step; () where the loss has none
    grads: Any  # or the displacement of a local round
    walked: Any = None  # state of the inner optimizer after a local round
    has_seen: jax.Array | None = None  # bool, shape (): whether it took any step


def checked_loss(
    loss_fn: Callable[..., Any],
    has_aux: bool,
    has_state: bool = False,
    micro_batches: int = 1,
    unroll: bool = False,
    has_rounds: bool = False,
) -> Loss:
    """Return the loss with its options, or raise."""
    _checks.function("loss_fn", loss_fn, "(params, batch) -> loss")
    _checks.flag("has_aux", has_aux)
    _checks.flag("has_state", has_state)
    micro_batches = _checks.integer("micro_batches", micro_batches, 1)
    _checks.flag("unroll", unroll)
    if unroll and micro_batches == 1 and not has_rounds:
        raise ValueError(
            "`unroll` must be False where there is no loop to write out: without "
            "`outer`, and with `micro_batches` of 1."
        )
    return Loss(loss_fn, bool(has_aux), bool(has_state), micro_batches, bool(unroll))


def differentiate(
    loss: Loss,
    axis_name: _collectives.AxisName,
    params: Any,
    model_state: Any,
    batch: Any,
    key: jax.Array | None,
) -> Outcome:
    """Return one worker's mean gradient over its micro-batches.

    Args:
      loss: The loss.
      axis_name: Mapped axis of the workers, or a tuple of axes.
      params: What is differentiated.
      model_state: Carried from one micro-batch to the next.
      batch: This worker's part, arrays ``[b, ...]``.
      key: This worker's, for this step; None where the loss draws nothing.
    """
    number = loss.micro_batches
    compute = _value_and_grad.value_and_grad(
        lambda *args: _run_loss(loss, *args), axis_name, has_aux=True
    )
    if number == 1:
        (value, (metrics, model_state)), grads = compute(
            params, model_state, batch, key
        )
        return Outcome(value, metrics, model_state, grads)

    def add_part(carried, part):
        sums, model_state, index = carried
        own = None if key is None else jax.random.fold_in(key, index)
        (value, (metrics, model_state)), grads = compute(params, model_state, part, own)
        sums = jax.tree.map(lambda x, y: x + y.astype(x.dtype), sums, grads)
        return (sums, model_state, index + 1), (value, metrics)

    # What is carried must have the types that it has after a turn.
    start = _collectives.to_varying(
        (jax.tree.map(_tree.wide_zeros, params), model_state), axis_name
    )
    (sums, model_state, _), parts = jax.lax.scan(
        add_part,
        (*start, jnp.zeros((), jnp.int32)),
        _cut_parts(batch, number),
        unroll=loss.unroll,
    )
    grads = jax.tree.map(lambda x, p: (x / number).astype(p.dtype), sums, params)
    value, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), parts)
    return Outcome(value, metrics, model_state, grads)


def _run_loss(loss, params, model_state, batch, key):
    """Call the loss, and sort what it returns."""
    args = (params, model_state, batch) if loss.has_state else (params, batch)
    out = loss.function(*args, **({} if key is None else {"key": key}))
    wanted = ["loss"] + ["metrics"] * loss.has_aux + ["model_state"] * loss.has_state
    if len(wanted) == 1:
        return out, ({}, ())
    if not isinstance(out, tuple) or len(out) != len(wanted):
        raise ValueError(
            f"`loss_fn` must return ({', '.join(wanted)}), as `has_aux` and "
            f"`has_state` say, got {_outline(out)}."
        )
    found = dict(zip(wanted, out, strict=True))
    metrics = found.get("metrics", {})
    if not isinstance(metrics, dict):
        raise ValueError(
            "`loss_fn` must return its metrics as a dict of arrays, got "
            f"{_outline(metrics)}."
        )
    if "loss" in metrics:
        raise ValueError(
            "`loss_fn` must not return a metric called 'loss': that is where the "
            "loss itself goes."
        )
    return found["loss"], (metrics, found.get("model_state", ()))


def _outline(value):
    """Describe a value that is too long to print."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"


def _cut_parts(batch, number):
    """Cut ``[b, ...]`` into ``[number, b / number, ...]``."""

    def cut(path, leaf):
        if not jnp.ndim(leaf) or leaf.shape[0] % number:
            raise ValueError(
                f"`micro_batches` must divide each worker's part of the batch, but "
                f"leaf {_tree.path_name(path)!r} has shape {jnp.shape(leaf)}, and "
                f"`micro_batches` is {number}."
            )
        return leaf.reshape(number, -1, *leaf.shape[1:])

    return jax.tree.map_with_path(cut, batch)
