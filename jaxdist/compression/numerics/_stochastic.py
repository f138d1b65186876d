"""Stochastic rounding: the neighbour above as often as the value is near to it."""

import math

import jax
import jax.numpy as jnp

_SHARED = 4  # elements that share one random word


def shared_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw a uniform 32-bit word for every element, four from each word drawn.

    The four are rotations of one word by whole bytes: each is exactly uniform, which is
    all that a mean and a squared error ask for. Together they are nearly independent: a
    rounding depends on more than its first byte once in 256 times, so that the
    covariance of two is at most about 1/256 of 1/4. Random words are what stochastic
    rounding spends its time on.
    """
    size = math.prod(shape)
    drawn = jax.random.bits(key, (-(-size // _SHARED),))
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
