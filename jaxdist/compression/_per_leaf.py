"""Compressors on trees: which leaf gets which, what state it has, what travels."""

import fnmatch
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdist import _random, _tree
from jaxdist.compression import _compressor


def _encode_dense(leaf, state, keys, blocks):
    """Send the block as it is."""
    del keys
    # A whole leaf keeps its shape, so that XLA can reduce it in place.
    return leaf[None] if blocks == 1 else _tree.to_blocks(leaf, blocks), state


def _decode_dense(payload, like, keys):
    """Take the block as it came."""
    del keys
    return _tree.from_blocks(payload, like)


_SHOWN = 8  # names of leaves in an error

DENSE = _compressor.Compressor(
    init=lambda leaf: (),
    encode=_encode_dense,
    decode=_decode_dense,
    contract=_compressor.Contract(
        unbiased=True,
        variance=lambda size: 0.0,
        linear=True,
        aligned=True,
        keeps_zeros=True,
    ),
    name="identity()",
)


def check_compressor(
    name: str, value: Any, *, policies: bool = False, steps: bool = False
) -> None:
    """Raise unless the value is a compressor, or a policy where that is allowed."""
    if isinstance(value, _compressor.Compressor):
        return
    if not isinstance(value, _compressor.LeafPolicy | _compressor.StepPolicy):
        raise TypeError(
            f"`{name}` must be a compressor such as "
            f"jaxdist.compression.top_k(density=0.01), got {value!r}."
        )
    if isinstance(value, _compressor.StepPolicy) and not steps:
        raise TypeError(
            f"`{name}` must not change with the step, got {value}. Put by_step around "
            "everything else: by_step({0: by_leaf(...), 100: by_leaf(...)})."
        )
    if isinstance(value, _compressor.LeafPolicy) and not policies:
        raise TypeError(
            f"`{name}` must be a compressor, got the leaf policy {value}. Put the "
            "wrapper inside: by_leaf(error_feedback(top_k(0.01))), not "
            "error_feedback(by_leaf(top_k(0.01)))."
        )


def select_compressor(
    compressor: _compressor.Compressor | _compressor.LeafPolicy, path: str, leaf: Any
) -> _compressor.Compressor:
    """Return the compressor of the leaf; a leaf without elements needs none."""
    if math.prod(leaf.shape) == 0:
        return DENSE
    if isinstance(compressor, _compressor.LeafPolicy):
        return compressor.select(path, leaf)
    return compressor


def check_dtype(
    compressor: _compressor.Compressor, argument: str, name: str, leaf: Any
) -> None:
    """Raise where a leaf is no real number; dense, any leaf travels as it is."""
    if compressor is DENSE:
        return
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            f"`{argument}` must be floating-point for {compressor.name}, but leaf "
            f"{name!r} is {dtype}. Leave it out with optax.masked or optax.partition, "
            "or let it travel as it is: identity()."
        )
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(
            f"`{argument}` leaf {name!r} is {dtype}, of which {compressor.name} "
            "would drop the imaginary part. Split it into real and imaginary parts, or "
            "let it travel as it is: identity()."
        )


def check_dtypes(
    compressor: _compressor.Compressor | _compressor.LeafPolicy,
    argument: str,
    tree: Any,
) -> None:
    """Raise where a leaf of a tree is no real number that its compressor could take."""
    for name, leaf in _tree.named_leaves(tree):
        check_dtype(select_compressor(compressor, name, leaf), argument, name, leaf)


def check_patterns(compressor: Any, params: Any) -> None:
    """Raise when a pattern of a policy matches no leaf, not even one left out here.

    Args:
      compressor: Compressor or policy.
      params: As the transformation gets them. What others handle (``optax.masked``,
        ``optax.partition``) has a hole in its place, which keeps its name.
    """
    if not isinstance(compressor, _compressor.LeafPolicy) or not compressor.patterns:
        return

    def is_hole(node):
        return node is None or isinstance(node, optax.MaskedNode)

    paths = jax.tree.leaves_with_path(params, is_leaf=is_hole)
    names = [_tree.path_name(path) for path, _ in paths]
    # optax.tree_map_params asks for the structure of a state without any leaf.
    for pattern in compressor.patterns if names else ():
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            shown = ", ".join(map(repr, names[:_SHOWN]))
            raise ValueError(
                f"`patterns` {pattern!r} matches no leaf. A pattern is one of a shell "
                f"(*, ?, [...]) for the whole path; the leaves are {shown}"
                f"{', ...' if len(names) > _SHOWN else ''}."
            )


def init_states(
    compressor: _compressor.Compressor | _compressor.LeafPolicy, params: Any
) -> Any:
    """Return the tree of the leaves' compressor states."""
    _tree.check_unique(_tree.flatten_named(params)[0])

    def init_leaf(path, leaf):
        return select_compressor(compressor, _tree.path_name(path), leaf).init(leaf)

    return jax.tree.map_with_path(init_leaf, params)


def find_states(
    compressors: Sequence[_compressor.Compressor],
    names: Sequence[str],
    leaves: Sequence[Any],
    tree: Any,
) -> list[_compressor.CompressorState]:
    """Find the leaves' compressor states in their tree, by name.

    Containers between the optimizer and its state (flax.nnx) may replace named tuples
    by mappings, and drop what is empty. Names survive, so a state is looked up by the
    path of its leaf in any container.

    Args:
      compressors: Of the leaves.
      names: Of the leaves.
      leaves: Arrays, or shapes and dtypes, from which the states were made.
      tree: What :func:`jaxdist.init` returned.
    """
    _tree.check_unique(names)
    found = {_tree.path_name(path): x for path, x in jax.tree.leaves_with_path(tree)}

    def state_of(compressor, name, leaf):
        def find(path, like):
            full = "/".join(filter(None, [name, _tree.path_name(path)]))
            if full not in found:
                raise ValueError(
                    f"`state` has no {full!r}: it was made for other parameters or by "
                    f"another compressor than {compressor.name}."
                )
            if found[full].shape != like.shape:
                raise ValueError(
                    f"`state` must have {full!r} of shape {like.shape}, got "
                    f"{found[full].shape}: it was made for other parameters, or for "
                    "the same ones sharded in another way."
                )
            return found[full]

        made = jax.eval_shape(compressor.init, _tree.like_leaf(leaf))
        return jax.tree.map_with_path(find, made)

    return [state_of(*item) for item in zip(compressors, names, leaves, strict=True)]


def state_while_absent(
    compressor: _compressor.Compressor,
    before: _compressor.CompressorState,
    after: _compressor.CompressorState,
    keys: _random.Keys,
) -> _compressor.CompressorState:
    """Return the state after a step in which nothing of this worker counted."""
    if compressor.absent is None:
        return before
    return compressor.absent(before, after, keys)


def find_arrays(names: Sequence[str], likes: Sequence[Any], tree: Any) -> list[Any]:
    """Find one array for each name in a tree, or ``()`` where ``like`` is that.

    Args:
      names: Of the leaves.
      likes: Shapes and dtypes that the arrays must have.
      tree: Where to look.
    """
    found = {_tree.path_name(path): x for path, x in jax.tree.leaves_with_path(tree)}

    def array_of(name, like):
        if like == ():
            return ()
        if name not in found or found[name].shape != like.shape:
            raise ValueError(
                f"`state` has no estimate of shape {like.shape} for {name!r}: it was "
                "made for other parameters, another number of workers or another route."
            )
        return found[name]

    return [array_of(*item) for item in zip(names, likes, strict=True)]


@functools.lru_cache(maxsize=4096)
def payload_like(
    compressor: _compressor.Compressor, shape: tuple[int, ...], dtype: Any, blocks: int
) -> Any:
    """Return the shapes and dtypes of the payload of such a leaf."""

    def encode(leaf, key):
        keys = _random.Keys(key, key)
        return compressor.encode(leaf, compressor.init(leaf), keys, blocks)[0]

    leaf = jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(encode, leaf, jax.eval_shape(lambda: jax.random.key(0)))


def payload_nbytes(
    compressor: _compressor.Compressor, leaf: Any, blocks: int = 1
) -> int:
    """Return the bytes of the payload of such a leaf, over all its blocks."""
    like = payload_like(compressor, tuple(leaf.shape), leaf.dtype, blocks)
    return sum(_tree.leaf_nbytes(array) for array in jax.tree.leaves(like))


def blocks_of(payload: Any) -> int:
    """Return into how many blocks the payload was cut."""
    return jax.tree.leaves(payload)[0].shape[0]
