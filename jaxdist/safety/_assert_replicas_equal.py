"""Assert replicas equal: what a mesh holds several times is the same everywhere."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdist import _collectives, _tree
from jaxdist.safety import _replica_fingerprint


def assert_replicas_equal(tree: Any) -> None:
    """Raise unless all devices that hold the same part of an array hold the same bits.

    JAX takes it on trust that replicas are equal. Bad memory, a compiler's choice that
    depends on the host, or ``check_vma=False`` can break that, and then workers drift
    apart in silence. Call it every few hundred steps, with parameters, with the state
    of the optimizer, or with all of a :class:`TrainState`.

    Args:
      tree: Global arrays, all on one mesh; in several processes all of them must call
        it. What is sharded over an axis of the mesh is compared over the other axes.

    Raises:
      ValueError: If a leaf is not on a mesh, or leaves are on different meshes.
      RuntimeError: If replicas differ, on all processes. It names the leaves and the
        devices that are in the minority.

    Communication:
      An all-gather of 8 bytes per leaf over all devices.

    Example:
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> replicated = jax.NamedSharding(mesh, jax.P())
      >>> jaxdist.assert_replicas_equal(jax.device_put(jnp.ones(3), replicated))
    """
    names, leaves, _ = _tree.flatten_named(tree)
    if not leaves:
        return
    mesh = _mesh_of(names, leaves)
    specs = tuple(leaf.sharding.spec for leaf in leaves)
    found = np.asarray(_leaf_fingerprints(tuple(leaves), mesh, specs))
    complaints = [
        f"leaf {name!r} on {', '.join(odd)}"
        for i, (name, leaf) in enumerate(zip(names, leaves, strict=True))
        if (odd := _odd_devices(leaf, mesh, found[:, i]))
    ]
    if complaints:
        raise RuntimeError(
            "Replicas differ, though the mesh should hold the same bits everywhere: "
            f"{'; '.join(complaints)}. Restore the last checkpoint, and see whether a "
            "device is bad or whether a step gives workers other updates."
        )


def _mesh_of(names: Sequence[str], leaves: Sequence[Any]) -> Mesh:
    """Return the mesh of all leaves."""
    meshes = []
    for name, leaf in zip(names, leaves, strict=True):
        sharding = getattr(leaf, "sharding", None)
        if not isinstance(sharding, NamedSharding):
            raise ValueError(
                f"`tree` must hold arrays on a mesh, but leaf {name!r} has sharding "
                f"{sharding}. Put it there with jax.device_put(leaf, "
                "jax.NamedSharding(mesh, spec))."
            )
        meshes.append(sharding.mesh)
        if meshes[0] != meshes[-1]:
            raise ValueError(
                f"`tree` must hold arrays on one mesh, but leaf {name!r} is on "
                f"{meshes[-1]}, and leaf {names[0]!r} on {meshes[0]}."
            )
    return meshes[0]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _leaf_fingerprints(
    leaves: tuple[jax.Array, ...], mesh: Mesh, specs: tuple[PartitionSpec, ...]
) -> jax.Array:
    """Return ``uint32 [devices, leaves, 2]``, the same on all devices."""

    def on_device(leaves):
        mine = [_replica_fingerprint.fingerprint_leaf(leaf) for leaf in leaves]
        return _collectives.all_gather(jnp.stack(mine), mesh.axis_names)

    # Types would say that what is replicated is equal, which is the question here.
    mapped = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(specs,),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    return mapped(leaves)


def _odd_devices(leaf: jax.Array, mesh: Mesh, fingerprints: np.ndarray) -> list[str]:
    """Return the devices whose part of the leaf is not what most holders of it have."""
    devices = list(mesh.devices.flat)
    holders: dict[str, list[int]] = {}
    for device, index in leaf.sharding.devices_indices_map(leaf.shape).items():
        holders.setdefault(str(index), []).append(devices.index(device))
    odd = []
    for places in holders.values():
        values = [tuple(fingerprints[place].tolist()) for place in places]
        common = max(values, key=values.count)  # of a tie, the first
        odd += [
            f"device {devices[place].id} of process {devices[place].process_index}"
            for place, value in zip(places, values, strict=True)
            if value != common
        ]
    return odd
