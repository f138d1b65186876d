"""State specs: where on a mesh each leaf of an optimizer state lives.

Types say what varies over which axis. With one `aggregate` for each level of a network,
a residual differs between pods but not within them. A mark on the state cannot say so,
because it is made before the gradient is seen; the types of a traced step can.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxdist import _checks, _collectives
from jaxdist.workers import _typed, _worker_state


def state_specs(
    tx: optax.GradientTransformation | Callable[[Any], Any],
    params: Any,
    axis_name: _collectives.AxisName,
    mesh: Mesh | None = None,
) -> Any:
    """Return the partition specs of an optimizer state, for ``shard_map`` and ``jit``.

    What differs between workers is sharded over ``axis_name``; all else, Adam's
    moments among it, is replicated and stored once.

    Args:
      tx: The whole optimizer; or a function from the parameters to what holds its
        state, such as one that calls ``TrainState.create`` of Flax.
      params: Parameters, or their shapes and dtypes.
      axis_name: Mesh axis of the workers, or a tuple of axes.
      mesh: Mesh with these axes. Give it when several axes are communicated over one
        after the other, as between and within pods: a step is then traced to see what
        varies over which of them.

    Returns:
      A tree of the structure of ``tx.init(params)``, or ``tx(params)``, with a
      ``PartitionSpec`` for every leaf, whose rank is at most that of the leaf.

    Raises:
      TypeError: If ``tx`` is neither.
      ValueError: If ``tx`` is a function and there are several axes in ``mesh``; if
        ``optax.MultiSteps`` or ``optax.apply_if_finite`` encloses
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
    make = maker_of(tx)
    _checks.axis_name(axis_name)
    if mesh is not None:
        _checks.mesh(mesh)
    names = _collectives.names_of(axis_name)
    if mesh is not None and len(names) > 1:
        if not isinstance(tx, optax.GradientTransformation):
            raise ValueError(
                "`tx` must be the optimizer itself where several axes are communicated "
                "over, since a step of it is traced to see what varies over which."
            )
        return _specs_by_type(tx, params, names, mesh)
    for name in reversed(names):
        make = jax.vmap(make, in_axes=None, axis_size=1, axis_name=name)
    return specs_of(jax.eval_shape(make, params), axis_name)


def maker_of(
    tx: optax.GradientTransformation | Callable[[Any], Any],
) -> Callable[[Any], Any]:
    """Return the function that makes a state of the parameters, or raise."""
    if isinstance(tx, optax.GradientTransformation) or not callable(tx):
        _checks.optimizer("tx", tx)
        return tx.init

    def make(params):
        state = tx(params)
        if any(map(callable, jax.tree.leaves(state))):
            raise TypeError(
                "`tx` must be an optimizer such as optax.sgd(0.1), or a function from "
                "the parameters to what holds the state of one, but functions came "
                f"from it, got {tx!r}."
            )
        return state

    return make


def specs_of(state: Any, axis_name: _collectives.AxisName) -> Any:
    """Return the specs of a state that is there already."""
    check_wrappers(state)
    return _worker_state.fill_marked(state, PartitionSpec(axis_name), PartitionSpec())


def _specs_by_type(
    tx: optax.GradientTransformation, params: Any, names: tuple[str, ...], mesh: Mesh
) -> Any:
    """Trace a few steps, and return the specs that the types of the state ask for."""
    update = optax.with_extra_args_support(tx).update
    specs = None

    def trace(params):
        nonlocal specs
        state = tx.init(params)
        check_wrappers(state)
        updates, loss = _collectives.to_varying((params, jnp.zeros(())), names)
        for _ in names:  # what one level leaves varying reaches the next
            _, state = update(updates, state, params, value=loss)
        specs = _own_specs(state, names)

    _typed.trace_typed(trace, {name: mesh.shape[name] for name in names}, params)
    return specs


def _own_specs(state: Any, names: tuple[str, ...]) -> Any:
    """Return specs for a state whose types are tracked."""

    def spec(leaf):
        axes = [name for name in names if _collectives.is_varying(leaf, name)]
        return PartitionSpec(axes[0] if len(axes) == 1 else tuple(axes))

    marked = _worker_state.map_slices(spec, state)
    return jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, PartitionSpec) else PartitionSpec(),
        marked,
        is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
    )


_INSTEAD = {
    optax.MultiStepsState: (
        "optax.MultiSteps",
        "its accumulated gradients would differ between workers without being sharded."
        " Use `micro_batches` of a recipe, which sends one message for all of them, or"
        " average the gradients of several micro-batches before tx.update; or wrap only"
        " what follows: optax.chain(jaxdist.aggregate(...), optax.MultiSteps(...)).",
    ),
    optax.ApplyIfFiniteState: (
        "optax.apply_if_finite",
        "a worker that alone sees a NaN would leave the others waiting or drift from "
        "them. Wrap only what follows, where all workers see the same updates: "
        "optax.chain(jaxdist.aggregate(...), optax.apply_if_finite(...)). Or let all "
        "workers skip the step together with jaxdist.skip_nonfinite.",
    ),
}


def check_wrappers(state: Any) -> None:
    """Raise when a wrapper of optax decides for each worker what all must do alike."""
    wrappers = tuple(_INSTEAD)

    def is_wrapper_or_own(node):
        return isinstance(node, wrappers) or _worker_state.is_per_worker(node)

    for node in jax.tree.leaves(state, is_leaf=is_wrapper_or_own):
        if isinstance(node, wrappers) and _worker_state.holds_marks(node):
            name, reason = _INSTEAD[type(node)]
            raise _checks.LayoutError(
                f"{name} cannot enclose what differs between workers: {reason}"
            )
