"""Stochastic rounding: the neighbour above as often as the value is near to it."""

import math

import jax
import jax.numpy as jnp

_SHARED = 4  # elements that share one random word


def shared_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw a uniform 32-bit word for every element, four from each word drawn.

    Most of the time of stochastic rounding goes into random words. The four words are
    rotations of one word by whole bytes. Each alone is exactly uniform, so bias and
    squared error are those of independent words. Together they are nearly independent:
    a rounding depends on more than its first byte once in 256 times. So the covariance
    of two errors is at most about 1/1024 of a squared level, where each error has a
    variance of up to 1/4.
    """
    size = math.prod(shape)
    drawn = jax.random.bits(key, (-(-size // _SHARED),), jnp.uint32)
    turned = [
        drawn if by == 0 else (drawn << by) | (drawn >> (32 - by))
        for by in range(0, 32, 32 // _SHARED)
    ]
    # Elements that share a word stand a quarter of the leaf apart.
    return jnp.concatenate(turned)[:size].reshape(shape)


def to_integers(values: jax.Array, key: jax.Array) -> jax.Array:
    """Round float32 values to integers, unbiased.

    The odd multiples of 2^-24 make the probabilities symmetric and exact to 2^-24;
    integers stay what they are.
    """
    odd = ((shared_words(key, values.shape) >> 8) | 1).astype(jnp.int32)
    below = jnp.floor(values)
    up = odd.astype(jnp.float32) * 2.0**-24 < values - below
    return below + up.astype(jnp.float32)
