"""Keys: what all workers draw together, and what each draws for itself."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Keys(NamedTuple):
    """The randomness of one encoding, known to the sender and to every receiver."""

    common: jax.Array  # typed key, the same on all workers
    own: jax.Array  # typed key, the sender's own; derived from `common` and its index


_IMPLEMENTATION = "threefry2x32"  # draws under vmap what it draws alone


def as_key(key: int | jax.Array) -> jax.Array:
    """Return a typed key of one implementation from a seed, a raw key or a typed key.

    A receiver decodes all senders under `vmap`, and must draw what each drew alone. The
    implementation "rbg", usual on TPUs, draws otherwise there.
    """
    if isinstance(key, int) or not (_is_typed(key) or key.ndim):
        return jax.random.key(key, impl=_IMPLEMENTATION)
    data = jax.random.key_data(key) if _is_typed(key) else jnp.asarray(key)
    pinned = jax.random.wrap_key_data(data[:2], impl=_IMPLEMENTATION)
    for word in data[2:]:  # of implementations with longer keys
        pinned = jax.random.fold_in(pinned, word)
    return pinned


def _is_typed(key):
    return isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def step_key(key: jax.Array, count: jax.Array) -> jax.Array:
    """Return the common key of this optimizer step."""
    return jax.random.fold_in(key, count)


def leaf_key(step: jax.Array, leaf_index: int) -> jax.Array:
    """Return the common key of one leaf in this step."""
    return jax.random.fold_in(step, leaf_index)


def own_key(common: jax.Array, worker_index: jax.Array | int) -> jax.Array:
    """Return the key that only this worker draws from, and all can compute."""
    return jax.random.fold_in(common, worker_index)


def keys_of(common: jax.Array, worker_index: jax.Array | int) -> Keys:
    """Return the keys with which this worker encodes."""
    return Keys(common, own_key(common, worker_index))


def key_data(key: int | jax.Array) -> jax.Array:
    """Return the words of a key that a user's function will draw from, uint32.

    A seed becomes a key of JAX's default implementation.
    """
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
