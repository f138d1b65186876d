"""Init: an optimizer state, made where it will live."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdist import _checks, _collectives
from jaxdist.layout import _state_specs


def init(
    tx: optax.GradientTransformation | Callable[[Any], Any],
    params: Any,
    mesh: Mesh,
    axis_name: _collectives.AxisName,
) -> Any:
    """Make an optimizer state on a mesh, sharded by :func:`state_specs`.

    Args:
      tx: The whole optimizer; or a function from the parameters to what holds its
        state, such as one that calls ``TrainState.create`` of Flax.
      params: Parameters, the same on all workers.
      mesh: Mesh with the axis or axes of the workers.
      axis_name: Their name.

    Returns:
      ``tx.init(params)``, or ``tx(params)``, as global arrays. State that differs
      between workers has a leading axis of W, sharded over ``axis_name``; all else is
      replicated over it.

    Raises:
      ValueError: If the mesh has no such axis, or as :func:`state_specs` raises.

    Communication:
      None.

    Example:
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> tx = jaxdist.per_worker("data", optax.trace(0.9))
      >>> state = jaxdist.init(tx, jnp.zeros(3), mesh, "data")
      >>> print(state.inner_state.trace.shape)
      (1, 3)
    """
    make = _state_specs.maker_of(tx)
    check_mesh(mesh, axis_name)
    specs = _state_specs.state_specs(tx, params, axis_name, mesh)
    return make_on_mesh(make, (params,), specs, mesh, axis_name)


def make_on_mesh(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    specs: Any,
    mesh: Mesh,
    axis_name: _collectives.AxisName,
) -> Any:
    """Return ``make(*arguments)``, made by the workers where it will live."""
    made = jax.shard_map(
        make,
        mesh=mesh,
        in_specs=PartitionSpec(),
        out_specs=specs,
        axis_names=set(_collectives.names_of(axis_name)),
    )
    return jax.jit(made)(*_replicate_leaves(arguments, mesh))


def check_mesh(mesh: Mesh, axis_name: _collectives.AxisName) -> None:
    """Raise when the mesh is none, or has no such axis."""
    _checks.mesh(mesh)
    _checks.axis_name(axis_name)
    for name in _collectives.names_of(axis_name):
        if name not in mesh.axis_names:
            raise ValueError(
                f"`axis_name` must be one of the axes of the mesh, {mesh.axis_names}, "
                f"got {name!r}."
            )


def _replicate_leaves(tree: Any, mesh: Mesh) -> Any:
    """Put the leaves on the mesh, save those that are there already."""

    def put(leaf):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
            return leaf
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(put, tree)
