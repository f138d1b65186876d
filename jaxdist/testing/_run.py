"""Running a compressor: what every property is checked on, and with which keys."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _random, _tree
from jaxdist.compression import _compressor
from jaxdist.testing import _inputs

BLOCKS = 4  # into how many blocks a leaf is cut where the compressor splits
LONG_BLOCKS = 64  # and a long leaf
_LONG = 1920  # elements, which every usual block and transform divides
_FEWEST = 500  # leaves of them
_ELEMENTS = 2**16  # that are encoded at once: what numpy then does stays in cache


@dataclasses.dataclass(frozen=True)
class Setting:
    """A compressor under test, and how it is tested."""

    compressor: _compressor.Compressor
    shape: tuple[int, ...]
    num_draws: int
    seed: int
    # What is left out of comparisons does not change what is drawn.
    variance: Callable[[int], float] = dataclasses.field(compare=False)
    independent: bool = dataclasses.field(compare=False)
    nbytes: Mapping[int, int] = dataclasses.field(compare=False)

    @property
    def size(self) -> int:
        """The number of elements of the leaves."""
        return math.prod(self.shape)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Into how many blocks the leaves are cut, one after the other."""
        return (1, BLOCKS) if self.compressor.contract.splittable else (1,)

    @property
    def long(self) -> "Setting":
        """The same with long leaves, of which a tenth of the draws is enough."""
        rest = math.prod(self.shape[1:])
        # Of a matrix 96 rows or a multiple, which usual transforms divide too.
        first = _LONG if rest == 1 else 96 * math.ceil(_LONG / rest / 96)
        draws = (
            max(_FEWEST, self.num_draws // 10)
            if self.compressor.contract.stochastic
            else 64
        )
        return dataclasses.replace(
            self.of_shape((first, *self.shape[1:])), num_draws=draws
        )

    def of_shape(self, shape: tuple[int, ...]) -> "Setting":
        """Return the same with leaves of another shape."""
        return dataclasses.replace(self, shape=shape)

    def rng(self, *stream: int) -> np.random.Generator:
        """Return the generator of one purpose."""
        return np.random.default_rng([self.seed, *stream])

    def keys(self, *stream: int, worker: int = 0) -> _random.Keys:
        """Return the keys of a worker at the step of one purpose."""
        common = _random.as_key(self.seed)
        for index in stream:
            common = jax.random.fold_in(common, index)
        return _random.keys_of(common, worker)

    def leaf(self, kind: str, dtype: Any = np.float32) -> jax.Array:
        """Return one leaf of a kind."""
        return self.leaves(kind, 1, dtype)[0]

    def leaves(self, kind: str, num: int, dtype: Any = np.float32) -> jax.Array:
        """Return ``[num, *shape]`` leaves of a kind."""
        drawn = _inputs.draw_leaf(kind, self.rng(num), num, self.shape)
        return jnp.asarray(drawn).astype(dtype)

    def like(self, dtype: Any = np.float32) -> jax.ShapeDtypeStruct:
        """Return the shape and dtype of the leaves."""
        return jax.ShapeDtypeStruct(self.shape, dtype)


class Trip(NamedTuple):
    """What one worker sends of one leaf, and what the others see of it."""

    payload: Any
    seen: jax.Array
    state: Any


def round_trip(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    state: _compressor.CompressorState,
    keys: _random.Keys,
    blocks: int = 1,
) -> Trip:
    """Encode a leaf, and decode it."""
    payload, state = compressor.encode(leaf, state, keys, blocks)
    return Trip(payload, compressor.decode(payload, _tree.like_leaf(leaf), keys), state)


# Compiling takes longer than anything else here: all properties share few programs.
@functools.lru_cache(maxsize=32)
def compile_function(compressor: _compressor.Compressor) -> jax.stages.Wrapped:
    """Return :func:`round_trip` of a leaf, a state and keys, compiled as users do."""
    return jax.jit(functools.partial(round_trip, compressor))


def compiled_quickly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what runs once or twice, on CPU without the optimisations of LLVM."""
    options = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
    on_cpu = jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options=options if on_cpu else None)


@functools.lru_cache(maxsize=32)
def _named_variant(
    compressor: _compressor.Compressor, blocks: int
) -> Callable[..., Trip]:
    return compiled_quickly(functools.partial(round_trip, compressor, blocks=blocks))


def first_encoding(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    keys: _random.Keys,
    blocks: int = 1,
    *,
    variant: bool = False,
) -> Trip:
    """Return the compiled trip of the first leaf that a compressor meets.

    Args:
      compressor: The compressor.
      leaf: The leaf.
      keys: The sender's.
      blocks: Into how many blocks it is cut.
      variant: Whether few properties look at leaves of this shape or dtype; then, and
        in several blocks, it is compiled quickly.
    """
    quickly = variant or blocks != 1
    program = (
        _named_variant(compressor, blocks) if quickly else compile_function(compressor)
    )
    return program(leaf, compressor.init(leaf), keys)


@functools.lru_cache(maxsize=32)
def compile_steps(compressor: _compressor.Compressor) -> Callable[..., Any]:
    """Return what is seen, and the states, of as many steps as leaves, compiled."""

    def step(state, inputs):
        leaf, key = inputs
        _, seen, state = round_trip(compressor, leaf, state, key)
        return state, (seen, state)

    return compiled_quickly(
        lambda start, leaves, keys: jax.lax.scan(step, start, (leaves, keys))[1]
    )


@functools.lru_cache(maxsize=32)
def _batched_keys(
    compressor: _compressor.Compressor, blocks: int
) -> Callable[..., jax.Array]:
    """Return what is seen of ``leaves [n, ...]`` with ``keys [n]``, compiled."""

    def seen(leaf, keys):
        return round_trip(compressor, leaf, compressor.init(leaf), keys, blocks).seen

    return jax.jit(jax.vmap(seen))


@functools.lru_cache(maxsize=32)
def _batched_narrow(compressor: _compressor.Compressor) -> Callable[..., jax.Array]:
    """Return ``[n, 2, ...]``: what is decoded to float32, and to the leaf's dtype."""

    def seen(leaf, keys):
        payload, _ = compressor.encode(leaf, compressor.init(leaf), keys, 1)
        likes = (_tree.like_leaf(leaf, jnp.float32), _tree.like_leaf(leaf))
        decoded = [compressor.decode(payload, like, keys) for like in likes]
        return jnp.stack([array.astype(jnp.float32) for array in decoded])

    return compiled_quickly(jax.vmap(seen))


def batch_size(size: int) -> int:
    """Return how many leaves of this many elements are encoded at once."""
    return min(1024, max(16, _ELEMENTS // size))


def seen_leaves(
    compressor: _compressor.Compressor, leaves: Any, keys: _random.Keys, blocks: int = 1
) -> np.ndarray:
    """Return what is seen of ``leaves [n, ...]``, each with its own keys."""
    return _in_batches(_batched_keys(compressor, blocks), leaves, keys)


def seen_narrow(
    compressor: _compressor.Compressor, leaves: Any, keys: _random.Keys
) -> np.ndarray:
    """Return ``[n, 2, ...]``: narrow leaves decoded to float32, and to their dtype."""
    return _in_batches(_batched_narrow(compressor), leaves, keys)


def _in_batches(encode: Callable[..., jax.Array], leaves: Any, keys: _random.Keys):
    """Encode ``leaves [n, ...]``; batches of one length share one program."""
    num = len(leaves)
    length = batch_size(leaves[0].size)
    if num == length:
        return np.asarray(encode(leaves, keys))
    # Rows beyond the last repeat earlier ones.
    rows = np.arange(math.ceil(num / length) * length) % num
    parts = [
        np.asarray(encode(leaves[part], jax.tree.map(lambda k, p=part: k[p], keys)))
        for part in rows.reshape(-1, length)
    ]
    return np.concatenate(parts)[:num]


@functools.partial(jax.jit, static_argnames=("num", "worker"))
def many_steps(
    keys: _random.Keys, num: int, chunk: int = 0, worker: int = 0
) -> _random.Keys:
    """Return the keys of a worker at as many steps, ``[num]``, other in each chunk."""
    common = jax.random.split(jax.random.fold_in(keys.common, chunk), num)
    return jax.vmap(lambda key: _random.keys_of(key, worker))(common)


@functools.partial(jax.jit, static_argnames="num")
def many_workers(keys: _random.Keys, num: int) -> _random.Keys:
    """Return the keys of as many workers in the same step, ``[num]``."""
    workers = jnp.arange(num, dtype=jnp.uint32)
    return jax.vmap(lambda index: _random.keys_of(keys.common, index))(workers)


class BrokenPromise(AssertionError):
    """What the kit found, and not what the compressor raised."""


@contextlib.contextmanager
def on_inputs(inputs: str) -> Iterator[None]:
    """Name the input on which the compressor raised."""
    try:
        yield
    except BrokenPromise:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise BrokenPromise(f"on {inputs} it raised {kind}: {error}") from error


def require_true(condition: Any, sentence: str) -> None:
    """Raise the sentence unless the condition holds."""
    if not condition:
        raise BrokenPromise(sentence)


def describe_leaf(kind: str, leaf: Any, blocks: int = 1) -> str:
    """Return how a sentence names a leaf."""
    cut = "" if blocks == 1 else f" in {blocks} blocks"
    return f"a {kind} leaf of {leaf.dtype}{list(leaf.shape)}{cut}"


def exact_array(array: Any) -> np.ndarray:
    """Return the values in float64."""
    return np.asarray(array).astype(np.float64)


def is_finite(tree: Any) -> bool:
    """Whether all numbers of the tree are finite."""
    return all(
        np.isfinite(exact_array(array)).all()
        for array in jax.tree.leaves(tree)
        if jnp.issubdtype(array.dtype, jnp.inexact)
    )


def block_rows(flat: np.ndarray, blocks: int) -> np.ndarray:
    """Cut the last axis into ``[..., blocks, size]``, padded with zeros."""
    size = _tree.block_size(flat.shape[-1], blocks)
    padding = [(0, 0)] * (flat.ndim - 1) + [(0, blocks * size - flat.shape[-1])]
    return np.pad(flat, padding).reshape(*flat.shape[:-1], blocks, size)
