"""Trees and leaves: names of leaves, leaves cut into equal blocks, sums of rows."""

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

_WRITTEN_OUT = 64  # rows; a program of more takes long to compile
_A_FEW = 8  # rows that one turn of a loop adds


def path_name(path: jax.tree_util.KeyPath) -> str:
    """Return ``"layer/kernel"`` for a key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten_named(tree: Any) -> tuple[list[str], list[Any], Any]:
    """Return the names of the leaves, the leaves, and the tree's structure."""
    with_path, treedef = jax.tree.flatten_with_path(tree)
    names = [path_name(path) for path, _ in with_path]
    return names, [leaf for _, leaf in with_path], treedef


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return what sorts ``"layer_2"`` before ``"layer_10"``."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def ordered_names(names: Iterable[str], order: Sequence[str] | None) -> list[str]:
    """Return names as ``order`` has them, or as people sort; raise for other names."""
    known = list(names)
    if order is None:
        return sorted(known, key=natural_key)
    if sorted(order) != sorted(known):
        raise ValueError(f"`order` must hold {sorted(known)}, got {list(order)}.")
    return list(order)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves with their names."""
    return [(path_name(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def nodes_of(tree: Any, kind: type) -> list[Any]:
    """Return the nodes of a type, such as a state within the state of an optimizer."""

    def is_kind(node):
        return isinstance(node, kind)

    return [node for node in jax.tree.leaves(tree, is_leaf=is_kind) if is_kind(node)]


def arrange_like(made: Any, tree: Any) -> Any:
    """Return the leaves of a tree in the structure of another, found by their names.

    Containers between the optimizer and its state (flax.nnx) may replace named tuples
    by mappings, and drop what is empty; names survive.

    Args:
      made: Arrays, or shapes and dtypes.
      tree: What may have gone through such a container.
    """
    if jax.tree.structure(made) == jax.tree.structure(tree):
        return tree
    found = dict(named_leaves(tree))

    def find(path, _):
        name = path_name(path)
        if name not in found:
            raise ValueError(
                f"`state` has no {name!r}: it was made for other parameters or by "
                "another transformation."
            )
        return found[name]

    return jax.tree.map_with_path(find, made)


def check_arrays(argument: str, tree: Any) -> None:
    """Raise when a leaf is a number of Python, which has neither shape nor dtype."""
    for name, leaf in named_leaves(tree):
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(
                f"`{argument}` leaf {name!r} must be an array, got "
                f"{leaf!r}: make it one with jnp.asarray."
            )


def check_unique(names: Iterable[str]) -> None:
    """Raise when two leaves have one name: they would share what is remembered."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"`params` have two leaves of the name {name!r}, such as those of "
                "{'a/b': x, 'a': {'b': y}}. Give one of them another key."
            )
        seen.add(name)


def next_count(count: jax.Array) -> jax.Array:
    """Return the step counter plus one; it stays at the largest int32."""
    return jnp.asarray(optax.safe_increment(count))


def accumulator_dtype(*dtypes: Any) -> Any:
    """Return the dtype to add numbers of these dtypes in: float32 or wider."""
    bits = max([32, *(jnp.finfo(dtype).bits for dtype in dtypes)])
    if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes):
        return jnp.dtype(f"complex{2 * bits}")
    return jnp.dtype(f"float{bits}")


def like_leaf(leaf: Any, dtype: Any = None) -> jax.ShapeDtypeStruct:
    """Return the leaf's shape and dtype, without its values."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype if dtype is None else dtype)


def leaf_nbytes(leaf: Any) -> int:
    """Return the bytes that the leaf, or a leaf of this shape and dtype, takes."""
    return math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize


def split_flat(joined: jax.Array, sizes: Iterable[int]) -> list[jax.Array]:
    """Cut what was concatenated along the first axis into parts of these sizes."""
    ends = list(itertools.accumulate(sizes))
    return jnp.split(joined, ends[:-1])


def check_floats(argument: str, tree: Any) -> None:
    """Raise for leaves that are no floating-point numbers, real or complex."""
    for name, leaf in named_leaves(tree):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(
                f"`{argument}` must be floating-point, but leaf {name!r} is "
                f"{jnp.result_type(leaf)}. Leave it out with optax.masked or "
                "optax.partition."
            )


def add_finite(total: jax.Array, change: jax.Array) -> jax.Array:
    """Add the finite part of a change: a NaN would stay in the total."""
    return total + jnp.where(jnp.isfinite(change), change, 0)


def largest_magnitude(leaf: jax.Array, axis: int | None = -1) -> jax.Array:
    """Return the largest magnitude along the axis; NaN where one is not finite.

    XLA's reduction on CPU drops NaN, in rows of a few hundred elements or more.
    """
    # XLA writes at most a byte for each element of `isfinite(leaf)`; the sum of
    # `leaf * 0`, which would be NaN too, takes ten times as long.
    finite = jnp.isfinite(leaf).all(axis=axis)
    return jnp.where(finite, jnp.max(jnp.abs(leaf), axis=axis), jnp.nan)


def block_size(size: int, blocks: int) -> int:
    """Return the length of ``blocks`` equal runs that hold ``size`` elements."""
    return math.ceil(size / blocks)


def to_blocks(leaf: jax.Array, blocks: int) -> jax.Array:
    """Cut a leaf in row-major order into ``[blocks, size]``, padded with zeros."""
    size = block_size(leaf.size, blocks)
    flat = leaf.reshape(-1)
    return jnp.pad(flat, (0, blocks * size - leaf.size)).reshape(blocks, size)


def from_blocks(rows: jax.Array, like: Any) -> jax.Array:
    """Join ``[blocks, size]`` to the shape and dtype of ``like``; drop the padding."""
    flat = rows.reshape(-1)[: math.prod(like.shape)]
    return flat.reshape(like.shape).astype(like.dtype)


def to_chunks(rows: jax.Array, limit: int | None) -> jax.Array:
    """Cut ``[blocks, size]`` into ``[blocks, chunks, length <= limit]``.

    The chunks are as equal as they can be; the last ones are padded with zeros.
    """
    blocks, size = rows.shape
    chunks, length = chunk_shape(size, limit)
    padded = jnp.pad(rows, ((0, 0), (0, chunks * length - size)))
    return padded.reshape(blocks, chunks, length)


def from_chunks(chunks: jax.Array, size: int) -> jax.Array:
    """Invert :func:`to_chunks`: join to ``[blocks, size]`` and drop the padding."""
    return chunks.reshape(chunks.shape[0], -1)[:, :size]


def chunk_shape(size: int, limit: int | None) -> tuple[int, int]:
    """Return how many chunks of which length hold a block of ``size`` elements."""
    chunks = 1 if limit is None else max(1, math.ceil(size / limit))
    return chunks, math.ceil(size / chunks)


def kept_count(density: float, size: int) -> int:
    """Return how many of ``size`` elements a share keeps: rounded up, at least 1."""
    return min(size, max(1, math.ceil(round(density * size, 6))))


def sum_rows(rows: jax.Array) -> jax.Array:
    """Add up ``[W, ...]``, row by row: reducing over a leading axis is slow on CPU.

    Of many rows a few are written out, and a loop takes the next few.
    """
    num_rows = rows.shape[0]
    if num_rows <= _WRITTEN_OUT:
        return functools.reduce(operator.add, (rows[i] for i in range(num_rows)))

    def add_few(i, total):
        few = jax.lax.dynamic_slice_in_dim(rows, i * _A_FEW, _A_FEW)
        return total + sum_rows(few)

    num_turns, num_left = divmod(num_rows, _A_FEW)
    total = jax.lax.fori_loop(1, num_turns, add_few, sum_rows(rows[:_A_FEW]))
    return total + sum_rows(rows[-num_left:]) if num_left else total


def is_key(leaf: jax.Array) -> bool:
    """Whether the leaf is an array of typed keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def arrange_made(state: Any, init: Callable[[Any], Any], params: Any) -> Any:
    """Return a state as it was made, whatever container it went through.

    Args:
      state: What ``update`` got.
      init: Of the transformation.
      params: From whose shapes it was made.
    """
    if isinstance(state, tuple):
        return state
    return arrange_like(jax.eval_shape(init, params), state)


def widened(leaf: Any) -> jax.Array:
    """Return a leaf in the dtype in which many of its kind add up."""
    return jnp.asarray(leaf).astype(accumulator_dtype(leaf.dtype))


def wide_zeros(leaf: Any) -> jax.Array:
    """Return zeros like a leaf, in which many of its kind add up."""
    return jnp.zeros_like(leaf, dtype=accumulator_dtype(leaf.dtype))


def is_finite(tree: Any) -> jax.Array:
    """Return whether all elements of all leaves are finite; bool, shape ()."""
    finite = jnp.asarray(True)
    for leaf in jax.tree.leaves(tree):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite
