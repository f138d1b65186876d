"""Shards: leaves that are sharded inside of each worker, as parameters are in a pod.

The worker is then several devices, and XLA shards its leaves over axes of the mesh that
nobody maps. Nothing in a traced program says how, so whoever has the arrays declares
it while the program is traced.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from jaxdist import _collectives, _tree


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

    def specs_like(self, tree: Any) -> list[PartitionSpec]:
        """Return the spec of each leaf of a tree, found by name and shape."""
        found = {(name, shape): spec for name, shape, spec in self.leaves}
        specs = []
        for name, leaf in _tree.named_leaves(tree):
            if (name, tuple(leaf.shape)) not in found:
                raise ValueError(
                    f"`updates` must have the leaves of the parameters, which are "
                    f"sharded inside of each worker, got {name!r} of shape "
                    f"{tuple(leaf.shape)}: what joins or reshapes leaves, such as "
                    "optax.flatten, cannot enclose an aggregation there."
                )
            specs.append(found[name, tuple(leaf.shape)])
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

    def mark(self, tree: Any) -> Any:
        """Return the shapes and dtypes of a tree, with the shardings of its leaves."""
        mesh = AbstractMesh(*zip(*[(n, name) for name, n in self.sizes], strict=True))
        leaves, treedef = jax.tree.flatten(tree)
        return treedef.unflatten(
            [
                jax.ShapeDtypeStruct(
                    leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec)
                )
                for leaf, spec in zip(leaves, self.specs_like(tree), strict=True)
            ]
        )

    def spec_by_suffix(
        self, path: jax.tree_util.KeyPath, leaf: jax.Array
    ) -> PartitionSpec:
        """Return the spec of what is called as a leaf at the end, and has its shape.

        Each worker's own has an axis more, the first.
        """
        found = {(name, shape): spec for name, shape, spec in self.leaves}
        shape = tuple(leaf.shape)
        for start in range(len(path) + 1):  # the longest name first
            name = _tree.path_name(path[start:])
            if (name, shape) in found:
                return found[name, shape]
            if (name, shape[1:]) in found:
                spec = found[name, shape[1:]]
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
    leaves, sizes = [], {}
    for name, leaf in _tree.named_leaves(params):
        spec = PartitionSpec()
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding):
            mesh = dict(sharding.mesh.shape)
            spec = _spec_inside(sharding.spec, mesh, _collectives.names_of(axis_name))
            sizes |= {axis: mesh[axis] for axis in axes_of_spec(spec)}
        shape = tuple(getattr(leaf, "shape", ()))[num_leading:]
        leaves.append((name, shape, PartitionSpec(*spec[num_leading:])))
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
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def axes_of_spec(spec: PartitionSpec) -> tuple[str, ...]:
    """Return all axes of a spec."""
    return tuple(name for entry in spec for name in names_of_entry(entry))


_declared: contextvars.ContextVar[Shards | None]
_declared = contextvars.ContextVar("declared", default=None)
_inside: contextvars.ContextVar[tuple[str, ...]]
_inside = contextvars.ContextVar("inside", default=())
_has_parts = contextvars.ContextVar("has_parts", default=False)


class Met(NamedTuple):
    """Who aggregates inside of something, noted while it is traced."""

    names: list[str]
    is_skipped: bool  # whether it leaves updates as they are


_met: contextvars.ContextVar[Met | None]
_met = contextvars.ContextVar("met", default=None)


@contextlib.contextmanager
def declare(shards: Shards | None) -> Iterator[None]:
    """Say how the leaves of what is traced inside are sharded; None changes nothing."""
    token = _declared.set(shards if shards is not None else _declared.get())
    try:
        yield
    finally:
        _declared.reset(token)


@contextlib.contextmanager
def enter(axes: tuple[str, ...], has_parts: bool = False) -> Iterator[None]:
    """Say that leaves of what is traced inside are one device's shards.

    Args:
      axes: Over which they are sharded.
      has_parts: Whether they are parts of flat leaves, which have lost their shape.
    """
    nested = tuple(dict.fromkeys((*_inside.get(), *axes)))
    tokens = _declared.set(None), _inside.set(nested), _has_parts.set(has_parts)
    try:
        yield
    finally:
        _declared.reset(tokens[0])
        _inside.reset(tokens[1])
        _has_parts.reset(tokens[2])


@contextlib.contextmanager
def note_aggregations(are_skipped: bool = False) -> Iterator[list[str]]:
    """Return who aggregates in what is traced inside, or would if it were not skipped.

    What is no part of it, because an aggregation steps with it, is noted there.
    """
    met = Met([], are_skipped)
    token = _met.set(met)
    try:
        yield met.names
    finally:
        _met.reset(token)


def is_skipped(name: str) -> bool:
    """Note an aggregation; return whether it is to leave updates as they are."""
    met = _met.get()
    if met is None:
        return False
    met.names.append(name)
    return met.is_skipped


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
