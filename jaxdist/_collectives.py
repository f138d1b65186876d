"""The only file that names a collective or a manual axis type.

What differs between the four ways to map a worker axis, and is hidden here:

===========================  ===================  ==================================
situation                    vmap, pmap,          shard_map with ``check_vma=True``
                             ``check_vma=False``
===========================  ===================  ==================================
axis types                   none                 ``varying`` or not, per axis
``pcast(to="varying")``      raises under vmap    once; raises when it varies already
``all_gather``               untyped              ``to="invarying"`` when all workers
                                                  go on with the same values
``all_gather`` over a tuple  fails under vmap     one collective
``all_to_all`` of what all   garbled under vmap   fine
workers share
``psum`` on CPU              60 times slower      a real all-reduce
                             under vmap than a
                             sum of rows
``ppermute`` of some         fails under vmap     zeros for who hears nobody
workers, or over a tuple
===========================  ===================  ==================================

An axis may also be a tuple of axes; workers are then numbered in row-major order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdist import _traffic, _tree, _wire

AxisName = str | tuple[str, ...]


def names_of(axis_name: AxisName) -> tuple[str, ...]:
    """Return the axis or the axes as a tuple."""
    return axis_name if isinstance(axis_name, tuple) else (axis_name,)


def axis_size(axis_name: AxisName) -> int:
    """Return W, the static number of workers."""
    try:
        return lax.axis_size(axis_name)
    except NameError as error:
        raise NameError(_unmapped(axis_name)) from error


def axis_index(axis_name: AxisName) -> jax.Array:
    """Return this worker's index, int32 in [0, W)."""
    axis_size(axis_name)
    return lax.axis_index(axis_name)


def _unmapped(axis_name: AxisName) -> str:
    """Say how to map an axis that is not mapped."""
    name = next(name for name in names_of(axis_name) if not is_bound(name))
    return (
        f"unbound axis name: {name}. Nothing maps the workers here: map them with "
        f"jax.vmap(..., axis_name={name!r}), jax.pmap, or jax.shard_map over a mesh "
        f"with this axis; or train with jaxdist.simulate or jaxdist.data_parallel, "
        f"whose `axis_name` must be that of the optimizer."
    )


def is_bound(axis_name: AxisName) -> bool:
    """Whether the program runs inside all of these axes."""
    try:
        lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def _varying_axes(leaf: Any) -> frozenset[str]:
    """Return the axes over which the type says that the leaf varies."""
    return jax.typeof(leaf).manual_axis_type.varying


def _tracked_axes(axis_name: AxisName) -> tuple[str, ...]:
    """Return those of the axes whose varying is part of the types."""
    return tuple(
        name
        for name in names_of(axis_name)
        if is_bound(name) and name in _varying_axes(lax.axis_index(name))
    )


def types_tracked(axis_name: AxisName) -> bool:
    """Whether types say what varies over the axis: shard_map with ``check_vma``."""
    return bool(_tracked_axes(axis_name))


def is_varying(leaf: Any, axis_name: AxisName) -> bool:
    """Whether the leaf may differ between workers; True where no type says so."""
    return _varying_axes(leaf).issuperset(_tracked_axes(axis_name))


def other_axes(leaf: Any, axis_name: AxisName) -> tuple[str, ...]:
    """Return the other axes over which the type says that the leaf varies."""
    return tuple(sorted(_varying_axes(leaf) - set(names_of(axis_name))))


def to_varying(tree: Any, axis_name: AxisName) -> Any:
    """Type every leaf as one that may differ between workers; values stay."""
    axes = _tracked_axes(axis_name)

    def cast(leaf):
        missing = tuple(name for name in axes if name not in _varying_axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree) if axes else tree


def _are_mesh_axes(names: tuple[str, ...]) -> bool:
    """Whether all these axes are devices' (shard_map, pmap) and none is vmap's."""
    return set(names) <= set(jax.sharding.get_abstract_mesh().manual_axes)


def is_simulated(axis_name: AxisName) -> bool:
    """Whether vmap maps all of these axes: what workers hold is one array there."""
    manual = jax.sharding.get_abstract_mesh().manual_axes
    return set(names_of(axis_name)).isdisjoint(manual)


def unmapped_axes() -> tuple[str, ...]:
    """Return the axes of the mesh that nobody maps: XLA shards arrays over them."""
    mesh = jax.sharding.get_abstract_mesh()
    return tuple(name for name in mesh.axis_names if name not in mesh.manual_axes)


def are_explicit(names: tuple[str, ...]) -> bool:
    """Whether types say how arrays are sharded over all these axes."""
    return set(names) <= set(jax.sharding.get_abstract_mesh().explicit_axes)


def explicit_axes_of(leaf: Any) -> tuple[str, ...]:
    """Return the axes over which the type says that the leaf is sharded."""
    entries = jax.typeof(leaf).sharding.spec
    names = [names_of(entry) for entry in entries if isinstance(entry, str | tuple)]
    return tuple(name for entry in names for name in entry)


def _check_mapping(axis_name: AxisName) -> None:
    """Raise where JAX has no collectives: over vmap's axes, inside types of a mesh."""
    names = names_of(axis_name)
    manual = jax.sharding.get_abstract_mesh().manual_axes
    others = [name for name in names if name not in manual]
    if others and manual and types_tracked(tuple(manual)):
        raise ValueError(
            f"`axis_name` {others[0]!r} is mapped by jax.vmap inside of a "
            "jax.shard_map that checks types, where JAX has no collectives over it. "
            "Make it an axis of the mesh too, or give the shard_map check_vma=False."
        )


def all_gather(leaf: jax.Array, axis_name: AxisName) -> jax.Array:
    """Return ``[W, ...]``, the same on all workers and typed so."""
    num_workers = axis_size(axis_name)
    _check_mapping(axis_name)
    nbytes = _tree.leaf_nbytes(leaf)
    _traffic.note("gather", _traffic.all_gather_bytes(nbytes, num_workers), axis_name)
    return _gather(leaf, axis_name)


def _gather(leaf: jax.Array, axis_name: AxisName) -> jax.Array:
    """Gather, one axis after the other where vmap is among them."""
    names = names_of(axis_name)
    if _are_mesh_axes(names):
        return _gather_at_once(leaf, axis_name)
    gathered = leaf
    for name in reversed(names):
        gathered = _gather_at_once(gathered, name)
    return gathered.reshape(axis_size(axis_name), *leaf.shape)


def _gather_at_once(leaf: jax.Array, axis_name: AxisName) -> jax.Array:
    """Gather over axes that one collective can serve."""
    if types_tracked(axis_name):
        leaf = to_varying(leaf, axis_name)
        return lax.all_gather(leaf, axis_name, to="invarying")
    return lax.all_gather(leaf, axis_name)


def gather_arrays(arrays: Sequence[jax.Array], axis_name: AxisName) -> list[jax.Array]:
    """Return ``[W, ...]`` from ``[1, ...]``, gathered in one message of bytes."""
    message = _wire.pack_message(arrays)[0]
    return _wire.unpack_message(all_gather(message, axis_name), arrays)


def exchange_arrays(
    arrays: Sequence[jax.Array], axis_name: AxisName
) -> list[jax.Array]:
    """Return ``[W, ...]``, what each worker sent to this one, in one message of bytes.

    Args:
      arrays: ``[W, ...]``, of which row ``j`` goes to worker ``j``.
      axis_name: Of the workers.
    """
    message = all_to_all(_wire.pack_message(arrays), axis_name)
    return _wire.unpack_message(message, arrays)


def all_to_all(rows: jax.Array, axis_name: AxisName) -> jax.Array:
    """Send row ``j`` of ``[W, ...]`` to worker ``j``; row ``i`` comes from ``i``."""
    _check_mapping(axis_name)
    nbytes = _tree.leaf_nbytes(rows)
    sent = _traffic.all_to_all_bytes(nbytes, axis_size(axis_name))
    _traffic.note("scatter", sent, axis_name)
    if _are_mesh_axes(names_of(axis_name)):
        rows = to_varying(rows, axis_name)
    else:
        # vmap garbles what is the same for all workers: make it each worker's own.
        rows = rows + jnp.zeros_like(rows) * axis_index(axis_name).astype(rows.dtype)
    return lax.all_to_all(rows, axis_name, 0, 0)


def permute(
    leaf: jax.Array,
    sources: np.ndarray,
    axis_name: AxisName,
    phase: jax.Array | int = 0,
) -> jax.Array:
    """Return what the worker sends that this one hears; zeros where it hears nobody.

    Args:
      leaf: What this worker sends.
      sources: int ``[phases, W]``, whom each worker hears: a permutation of those who
        send and who hear. A worker that hears itself hears nobody.
      axis_name: Of the workers.
      phase: Which row of ``sources`` counts; all workers must know it alike.
    """
    _check_mapping(axis_name)
    num_heard = np.mean(np.sum(sources != np.arange(sources.shape[1]), axis=1))
    nbytes = float(num_heard) / axis_size(axis_name) * _tree.leaf_nbytes(leaf)
    _traffic.note("permute", nbytes, axis_name)
    if not _are_mesh_axes(names_of(axis_name)):
        return _permute_rows(leaf, sources, axis_name, phase)
    branches = [_permutation(row, axis_name) for row in sources]
    leaf = to_varying(leaf, axis_name)
    if len(branches) == 1:
        return branches[0](leaf)
    return lax.switch(phase, branches, leaf)


def _permutation(row: np.ndarray, axis_name: AxisName) -> Callable[..., jax.Array]:
    """Return the function that lets a leaf travel so."""
    pairs = [(int(i), j) for j, i in enumerate(row) if i != j]
    if not pairs:
        return jnp.zeros_like
    return lambda leaf: lax.ppermute(leaf, axis_name, pairs)


def _permute_rows(leaf, sources, axis_name, phase):
    """Permute where vmap maps some of the axes: what all send is one array there."""
    own = axis_index(axis_name)
    source = jnp.asarray(sources, jnp.int32)[phase, own]
    heard = lax.dynamic_index_in_dim(_gather(leaf, axis_name), source, keepdims=False)
    return jnp.where(source == own, jnp.zeros_like(heard), heard)


def columns_of_all(leaf: jax.Array, axis_name: AxisName) -> jax.Array:
    """Return the columns ``[..., W * s]`` of all workers where they are simulated.

    Nothing travels there: this only reads one array in another order.
    """
    columns = jnp.moveaxis(_gather(leaf, axis_name), 0, -2)
    return columns.reshape(*leaf.shape[:-1], -1)


def psum(tree: Any, axis_name: AxisName) -> Any:
    """Return the sum over the workers, the same on all of them and typed so.

    Floats travel, and are added, in :func:`psum_dtype`; sums have the dtypes of leaves.
    """
    _check_mapping(axis_name)
    tree = jax.tree.map(jnp.asarray, tree)
    note_psum(tree, axis_name)
    wide = jax.tree.map(lambda leaf: leaf.astype(psum_dtype(leaf.dtype)), tree)
    if _are_mesh_axes(names_of(axis_name)):
        total = lax.psum(to_varying(wide, axis_name), axis_name)
    else:
        total = jax.tree.map(
            lambda leaf: _tree.sum_rows(_gather(leaf, axis_name)), wide
        )
    return jax.tree.map(lambda x, leaf: x.astype(leaf.dtype), total, tree)


def pmax(leaf: jax.Array, axis_name: AxisName) -> jax.Array:
    """Return the largest over the workers, the same on all of them and typed so."""
    _check_mapping(axis_name)
    nbytes = _tree.leaf_nbytes(leaf)
    sent = _traffic.all_reduce_bytes(nbytes, axis_size(axis_name))
    _traffic.note("psum", sent, axis_name)
    return lax.pmax(to_varying(leaf, axis_name), axis_name)


def note_psum(tree: Any, axis_name: AxisName) -> None:
    """Note the traffic of :func:`psum`, also where its sum is found without it."""
    nbytes = sum(map(psum_nbytes, jax.tree.leaves(tree)))
    sent = _traffic.all_reduce_bytes(nbytes, axis_size(axis_name))
    _traffic.note("psum", sent, axis_name)


def psum_nbytes(leaf: Any) -> int:
    """Return the bytes of a leaf, or of its shape and dtype, in an all-reduce."""
    return _tree.leaf_nbytes(_tree.like_leaf(leaf, psum_dtype(leaf.dtype)))


def psum_dtype(dtype: Any) -> Any:
    """Return the dtype in which an all-reduce adds numbers up: no float is narrow.

    In float16 the share of one of many workers would vanish, and the sum of all would
    be infinite; in bfloat16 a sum of hundreds has no digits left. Some backends add
    narrow floats as they are and some widen them. So it is done here, for all alike:
    what travels, and which route sends the least, must not depend on where the program
    was traced.
    """
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.dtype(dtype)
    return _tree.accumulator_dtype(dtype)


def own_part(leaf: jax.Array, axis_name: AxisName) -> jax.Array:
    """Return this worker's of W equal parts of the leaf, flat."""
    parts = _tree.to_blocks(leaf, axis_size(axis_name))
    return lax.dynamic_index_in_dim(parts, axis_index(axis_name), keepdims=False)


def from_worker(tree: Any, worker_index: jax.Array, axis_name: AxisName) -> Any:
    """Return the values of one worker, chosen at run time, on all workers."""
    chosen = axis_index(axis_name) == worker_index
    return psum(
        jax.tree.map(lambda leaf: jnp.where(chosen, leaf, jnp.zeros_like(leaf)), tree),
        axis_name,
    )
