"""Keys: what all workers draw together, and what each draws for itself.

Transformations whose user gives no key, or the same one to all, must not draw alike:
two levels of a network would then drop the same coordinates. So every key is folded
with the name of who draws, and the key of a leaf with the name of the leaf.

What does not say that it draws gets None for a key, and its state holds no stream: if
it draws all the same, JAX raises, and nothing is drawn alike in every step.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Keys(NamedTuple):
    """The randomness of one encoding, known to the sender and to every receiver.

    None for compressors whose contract does not say that they draw.
    """

    common: Any  # typed key, the same on all workers
    own: Any  # typed key, the sender's own; derived from `common` and its index


NO_KEYS = Keys(None, None)


class Stream(NamedTuple):
    """The key of a transformation as states hold it: plain numbers travel anywhere."""

    words: jax.Array  # uint32 [2]; equal on all workers

    @property
    def key(self) -> jax.Array:
        """The typed key."""
        return jax.random.wrap_key_data(self.words, impl=_IMPLEMENTATION)


_IMPLEMENTATION = "threefry2x32"  # draws under vmap what it draws alone


def as_key(key: int | jax.Array) -> jax.Array:
    """Return a typed key of one implementation from a seed, a raw key or a typed key.

    A receiver decodes all senders under `vmap`, and must draw what each drew alone. The
    implementation "rbg", usual on TPUs, draws otherwise there.
    """
    check_key(key)
    if isinstance(key, int) or not (_is_typed(key) or key.ndim):
        return jax.random.key(key, impl=_IMPLEMENTATION)
    data = jax.random.key_data(key) if _is_typed(key) else jnp.asarray(key)
    pinned = jax.random.wrap_key_data(data[:2], impl=_IMPLEMENTATION)
    for word in data[2:]:  # of implementations with longer keys
        pinned = jax.random.fold_in(pinned, word)
    return pinned


def check_key(key: Any, name: str = "key") -> None:
    """Raise unless the value is a seed, or one key."""
    if _is_typed(key):
        is_key = key.ndim == 0
    elif isinstance(key, int):
        is_key = not isinstance(key, bool)
    else:
        # A seed may be a number of NumPy or JAX; a raw key is a row of words.
        dtype, ndim = getattr(key, "dtype", None), getattr(key, "ndim", None)
        is_seed = ndim == 0 and jnp.issubdtype(jnp.dtype(dtype), jnp.integer)
        is_key = is_seed or (ndim == 1 and dtype == jnp.uint32)
    if not is_key:
        raise ValueError(
            f"`{name}` must be an integer seed or a single key such as "
            f"jax.random.key(0), got {key!r}."
        )


def _is_typed(key):
    return isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def named_key(key: Any, name: str) -> Any:
    """Return the key of one leaf, or of one purpose, among all that share a key.

    None where there is none, because nothing is drawn.
    """
    if key is None:
        return None
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def stream_of(key: int | jax.Array, origin: str) -> Stream:
    """Return the stream from which a transformation draws.

    Args:
      key: The user's seed or key, perhaps the same for several transformations.
      origin: Which of them, by its kind and what makes it differ from others.
    """
    return Stream(jax.random.key_data(named_key(as_key(key), origin)))


def stream_if(draws: bool, key: int | jax.Array, origin: str) -> Stream | tuple[()]:
    """Return the same, or ``()`` where nothing is drawn, which needs no key."""
    check_key(key)
    return stream_of(key, origin) if draws else ()


def step_key(stream: Stream | tuple[()], count: jax.Array) -> Any:
    """Return the common key of this optimizer step; None where nothing is drawn."""
    if not isinstance(stream, Stream):
        return None
    return jax.random.fold_in(stream.key, count)


def own_key(common: jax.Array, worker_index: jax.Array | int) -> jax.Array:
    """Return the key that only this worker draws from, and all can compute."""
    return jax.random.fold_in(common, worker_index)


def keys_of(common: Any, worker_index: jax.Array | int, draws: bool = True) -> Keys:
    """Return the keys with which this worker encodes."""
    if common is None or not draws:
        return NO_KEYS
    return Keys(common, own_key(common, worker_index))


def map_keys(function: Callable[[jax.Array], jax.Array], tree: Any) -> Any:
    """Apply a function to all keys of a state, typed ones and streams."""

    def change(node):
        if isinstance(node, Stream):
            return Stream(jax.random.key_data(function(node.key)))
        return function(node) if _is_typed(node) else node

    return jax.tree.map(change, tree, is_leaf=lambda node: isinstance(node, Stream))


def key_data(key: int | jax.Array) -> jax.Array:
    """Return the words of a key that a user's function will draw from, uint32.

    A seed becomes a key of JAX's default implementation.
    """
    check_key(key)
    is_seed = isinstance(key, int) or (not _is_typed(key) and not jnp.ndim(key))
    key = jax.random.key(key) if is_seed else key
    return jax.random.key_data(key) if _is_typed(key) else jnp.asarray(key)


def split_data(data: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a typed key for this step, and the words of the key of those to come."""
    impl = None if len(data) == len(_default_data()) else _OF_LENGTH[len(data)]
    now, later = jax.random.split(jax.random.wrap_key_data(data, impl=impl))
    return now, jax.random.key_data(later)


_OF_LENGTH = {2: "threefry2x32", 4: "rbg"}  # words of a key


def _default_data():
    return jax.random.key_data(jax.random.key(0))
