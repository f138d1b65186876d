"""Shards: leaves that are sharded inside of each worker, as parameters are in a pod.

The worker is then several devices, and XLA shards its leaves over axes of the mesh that
nobody maps. Nothing in a traced program says how, so whoever has the arrays declares
it while the program is traced.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxdist import _collectives, _context, _tree


@dataclasses.dataclass(frozen=True)
class Shards:
    """How leaves are sharded inside of each worker; hashable."""

    leaves: tuple[tuple[str, tuple[int, ...], PartitionSpec], ...]  # all of them
    sizes: tuple[tuple[str, int], ...]  # of the axes over which they are

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes over which any leaf is sharded."""
        return tuple(name for name, _ in self.sizes)

    @property
    def number(self) -> int:
        """How many devices a worker has."""
        return math.prod(size for _, size in self.sizes)

    @functools.cached_property
    def specs(self) -> dict[tuple[str, tuple[int, ...]], PartitionSpec]:
        """The spec of each leaf by name and shape."""
        return {(name, shape): spec for name, shape, spec in self.leaves}

    def specs_like(self, tree: Any) -> list[PartitionSpec]:
        """Return the spec of each leaf of a tree, found by name and shape."""
        specs = []
        for name, leaf in _tree.named_leaves(tree):
            if (name, tuple(leaf.shape)) not in self.specs:
                raise ValueError(
                    f"`updates` must have the leaves of the parameters, which are "
                    f"sharded inside of each worker, got {name!r} of shape "
                    f"{tuple(leaf.shape)}: what joins or reshapes leaves, such as "
                    "optax.flatten, cannot enclose an aggregation there."
                )
            specs.append(self.specs[name, tuple(leaf.shape)])
        return specs

    def shapes_of_shards(self, tree: Any) -> Any:
        """Return the shapes and dtypes of a device's shards of a tree."""
        leaves, treedef = jax.tree.flatten(tree)
        return treedef.unflatten(
            [
                jax.ShapeDtypeStruct(self.shape_of_shard(leaf.shape, spec), leaf.dtype)
                for leaf, spec in zip(leaves, self.specs_like(tree), strict=True)
            ]
        )

    def spec_by_suffix(
        self, path: jax.tree_util.KeyPath, leaf: jax.Array
    ) -> PartitionSpec:
        """Return the spec of what is called as a leaf at the end, and has its shape.

        Each worker's own has an axis more, the first.
        """
        shape = tuple(leaf.shape)
        for start in range(len(path) + 1):  # the longest name first
            name = _tree.path_name(path[start:])
            if (name, shape) in self.specs:
                return self.specs[name, shape]
            if (name, shape[1:]) in self.specs:
                spec = self.specs[name, shape[1:]]
                return PartitionSpec(None, *spec) if spec else spec
        return PartitionSpec()

    def shape_of_shard(
        self, shape: Sequence[int], spec: PartitionSpec
    ) -> tuple[int, ...]:
        """Return the shape of a device's shard of a leaf."""
        sizes = dict(self.sizes)
        parts = [
            math.prod(sizes[name] for name in names_of_entry(entry)) for entry in spec
        ]
        parts += [1] * (len(shape) - len(parts))
        return tuple(size // part for size, part in zip(shape, parts, strict=True))


def shards_of(
    params: Any, axis_name: _collectives.AxisName = (), num_leading: int = 0
) -> Shards | None:
    """Return how arrays are sharded over axes that are not the workers'.

    Args:
      params: Arrays, shapes and dtypes, or ``NamedSharding`` s of them. What has no
        sharding counts as not sharded.
      axis_name: Of the workers.
      num_leading: How many leading axes are of workers, and no part of a leaf.

    Returns:
      None where no leaf is sharded.
    """
    leaves, treedef = jax.tree.flatten(params)
    where = tuple(
        (tuple(getattr(leaf, "shape", ())), getattr(leaf, "sharding", None))
        for leaf in leaves
    )
    workers = _collectives.names_of(axis_name)
    return _shards_of_placed(treedef, where, workers, num_leading)


# A step on a mesh asks for the same again and again.
@functools.lru_cache(maxsize=64)
def _shards_of_placed(
    treedef: Any,
    where: tuple[tuple[tuple[int, ...], Any], ...],
    workers: tuple[str, ...],
    num_leading: int,
) -> Shards | None:
    """Return how leaves of these shapes and shardings are sharded."""
    names = [
        name for name, _ in _tree.named_leaves(treedef.unflatten(range(len(where))))
    ]
    leaves, sizes = [], {}
    for name, (shape, sharding) in zip(names, where, strict=True):
        spec = PartitionSpec()
        if isinstance(sharding, NamedSharding):
            mesh = dict(sharding.mesh.shape)
            spec = _spec_inside(sharding.spec, mesh, workers)
            sizes |= {axis: mesh[axis] for axis in axes_of_spec(spec)}
        inside = PartitionSpec(*spec[num_leading:])
        leaves.append((name, shape[num_leading:], inside))
    if not sizes:
        return None
    return Shards(tuple(leaves), tuple(sorted(sizes.items())))


def _spec_inside(
    spec: PartitionSpec, sizes: Mapping[str, int], workers: Sequence[str]
) -> PartitionSpec:
    """Return the part of a spec that shards a leaf inside of a worker."""
    entries: list[Any] = []
    for entry in spec:
        names = [
            name
            for name in names_of_entry(entry)
            if name not in workers and sizes[name] > 1
        ]
        entries.append(names[0] if len(names) == 1 else tuple(names) or None)
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def names_of_entry(entry: Any) -> tuple[str, ...]:
    """Return the axes of one entry of a spec."""
    return () if entry is None else _collectives.names_of(entry)


def axes_of_spec(spec: PartitionSpec) -> tuple[str, ...]:
    """Return all axes of a spec."""
    return tuple(name for entry in spec for name in names_of_entry(entry))


_declared: contextvars.ContextVar[Shards | None]
_declared = contextvars.ContextVar("declared", default=None)
_inside: contextvars.ContextVar[tuple[str, ...]]
_inside = contextvars.ContextVar("inside", default=())
_has_parts = contextvars.ContextVar("has_parts", default=False)


def declare(shards: Shards | None) -> contextlib.AbstractContextManager[None]:
    """Say how the leaves of what is traced inside are sharded; None changes nothing."""
    return _context.assigned(_declared, shards or _declared.get())


@contextlib.contextmanager
def enter(axes: tuple[str, ...], has_parts: bool = False) -> Iterator[None]:
    """Say that leaves of what is traced inside are one device's shards.

    Args:
      axes: Over which they are sharded.
      has_parts: Whether they are parts of flat leaves, which have lost their shape.
    """
    nested = tuple(dict.fromkeys((*_inside.get(), *axes)))
    with _context.assigned(_declared, None), _context.assigned(_inside, nested):
        with _context.assigned(_has_parts, has_parts):
            yield


def has_parts() -> bool:
    """Whether leaves are parts of flat leaves, which have lost their shape."""
    return _has_parts.get()


def declared() -> Shards | None:
    """Return what was declared, or None."""
    return _declared.get()


def axes_inside() -> tuple[str, ...]:
    """Return the axes over which leaves are sharded whose shards these are."""
    return _inside.get()


def declared_for(tree: Any) -> Shards | None:
    """Return how the leaves of a tree are sharded, or None where none of them is."""
    shards = _declared.get()
    if shards is None or not any(shards.specs_like(tree)):
        return None
    return shards


def place_like_leaves(tree: Any) -> Any:
    """Let what has the name and the shape of a leaf live where the leaf does.

    Moments of Adam do; XLA would give each device all of them.
    """
    shards = _declared.get()
    if shards is None or not _can_place(shards.axes):
        return tree

    def place(path, leaf):
        return place_array(leaf, shards.spec_by_suffix(path, leaf))

    return jax.tree.map_with_path(place, tree)


def place_array(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
    """Let an array be sharded so, where the program runs on a mesh with such axes."""
    axes = set(axes_of_spec(spec))
    if not axes or not _can_place(axes):
        return leaf
    if _collectives.are_explicit(tuple(axes)):
        return jax.sharding.reshard(leaf, spec)
    return jax.lax.with_sharding_constraint(leaf, spec)


def _can_place(axes):
    return set(axes) <= set(_collectives.unmapped_axes())
