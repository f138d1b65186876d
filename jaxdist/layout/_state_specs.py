"""State specs: where on a mesh each leaf of an optimizer state lives."""

from typing import Any

import jax
import optax
from jax.sharding import PartitionSpec

from jaxdist import _checks, _collectives, _types, _worker_state


def state_specs(
    tx: optax.GradientTransformation, params: Any, axis_name: _types.AxisName
) -> Any:
    """Return the partition specs of an optimizer state, for ``shard_map`` and ``jit``.

    What differs between workers is sharded over ``axis_name``; all else, Adam's
    moments among it, is replicated and stored once.

    Args:
      tx: The whole optimizer.
      params: Parameters, or their shapes and dtypes.
      axis_name: Mesh axis of the workers, or a tuple of axes.

    Returns:
      A tree of the structure of ``tx.init(params)`` with a ``PartitionSpec`` for every
      leaf, whose rank is at most that of the leaf.

    Raises:
      ValueError: If ``optax.MultiSteps`` or ``optax.apply_if_finite`` encloses
        something that differs between workers; the message says what to do instead.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     jaxdist.per_worker("data", optax.trace(0.9)), optax.scale(-0.1)
      ... )
      >>> specs = jaxdist.state_specs(tx, jnp.zeros(3), "data")
      >>> print(specs[0].inner_state.trace)
      P('data',)
    """
    _checks.axis_name(axis_name)
    make = tx.init
    for name in reversed(_collectives.names_of(axis_name)):
        make = jax.vmap(make, in_axes=None, axis_size=1, axis_name=name)
    return specs_of(jax.eval_shape(make, params), axis_name)


def specs_of(state: Any, axis_name: _types.AxisName) -> Any:
    """Return the specs of a state that is there already."""
    _check_wrappers(state)
    return _worker_state.fill(state, PartitionSpec(axis_name), PartitionSpec())


_INSTEAD = {
    optax.MultiStepsState: (
        "optax.MultiSteps",
        "its accumulated gradients would differ between workers without being sharded."
        " Average the gradients of several micro-batches before tx.update, or wrap only"
        " what follows: optax.chain(jaxdist.aggregate(...), optax.MultiSteps(...)).",
    ),
    optax.ApplyIfFiniteState: (
        "optax.apply_if_finite",
        "a worker that alone sees a NaN would leave the others waiting or drift from "
        "them. Use jaxdist.skip_nonfinite(axis_name, ...), which all workers decide "
        "together, or wrap only what follows, where all see the same updates: "
        "optax.chain(jaxdist.aggregate(...), optax.apply_if_finite(...)).",
    ),
}


def _check_wrappers(state: Any) -> None:
    """Raise when a wrapper of optax decides for each worker what all must do alike."""
    wrappers = tuple(_INSTEAD)

    def is_wrapper_or_own(node):
        return isinstance(node, wrappers) or _worker_state.is_per_worker(node)

    for node in jax.tree.leaves(state, is_leaf=is_wrapper_or_own):
        if isinstance(node, wrappers) and _holds_per_worker(node):
            name, reason = _INSTEAD[type(node)]
            raise ValueError(
                f"{name} cannot enclose what differs between workers: {reason}"
            )


def _holds_per_worker(node: Any) -> bool:
    leaves = jax.tree.leaves(node, is_leaf=_worker_state.is_per_worker)
    return any(map(_worker_state.is_per_worker, leaves))
