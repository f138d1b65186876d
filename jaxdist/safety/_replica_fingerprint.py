"""Replica fingerprint: eight bytes that stand for the bits of a whole tree.

A fingerprint is a sum modulo 2^32 of mixed words, so it does not depend on the order of
the sum. The place of each element is mixed into its word, so it does depend on the
order of the elements.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxdist import _tree

_SEEDS = (0x9E3779B9, 0x85EBCA6B)  # odd, and far apart


def replica_fingerprint(tree: Any) -> jax.Array:
    r"""Hash the bits of all leaves to 64 bits.

    .. math:: h_k = \sum_i m\big(b_i + m(i\,a_k)\big) \bmod 2^{32}, \qquad k = 1, 2

    where :math:`b_i` are the bits of element :math:`i`, and :math:`m` is a bijection of
    32-bit words in which every bit of the result depends on every bit that came. Any
    change of one element changes the sum. Elements that trade places do, and so do the
    sign of a zero and the bits of a NaN: bits are compared, not numbers.

    Args:
      tree: Arrays of any dtype, typed keys among them.

    Returns:
      ``uint32 [2]``, the same for trees of the same structure and the same bits, and
      different for others but for one in :math:`2^{64}`. Chance protects, not secrecy:
      two trees with the same fingerprint can be made on purpose.

    Communication:
      None. Compare what workers hold with :func:`replicas_equal` or
      :func:`assert_replicas_equal`.

    Example:
      >>> one = jaxdist.replica_fingerprint(jnp.array([0.0, 1.0]))
      >>> other = jaxdist.replica_fingerprint(jnp.array([-0.0, 1.0]))
      >>> print((one == other).all())
      False
    """
    total = jnp.zeros(2, jnp.uint32)
    for i, leaf in enumerate(jax.tree.leaves(tree)):
        total += _mix_words(fingerprint_leaf(leaf) + jnp.uint32(i))
    return total


def fingerprint_leaf(leaf: Any) -> jax.Array:
    """Return ``uint32 [2]`` for the bits of one leaf."""
    words = _leaf_words(jnp.asarray(leaf))
    places = lax.iota(jnp.uint32, words.size)

    def total(seed):
        terms = _mix_words(
            words + _mix_words(places * jnp.uint32(seed) + jnp.uint32(seed))
        )
        return jnp.sum(terms, dtype=jnp.uint32)

    return jnp.stack([total(seed) for seed in _SEEDS])


def _leaf_words(leaf: jax.Array) -> jax.Array:
    """View the bits of a leaf as ``uint32 [n]``, one word or two per element."""
    if _tree.is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag])
    if leaf.dtype == jnp.bool_ or jax.dtypes.itemsize_bits(leaf.dtype) < 8:
        leaf = leaf.astype(jnp.int8)
    bits = min(32, jax.dtypes.itemsize_bits(leaf.dtype))
    words = lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{bits}"))
    return words.reshape(-1).astype(jnp.uint32)


def _mix_words(words: jax.Array) -> jax.Array:
    """Return the words, each through the finalizer of MurmurHash3."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
