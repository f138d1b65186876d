"""Selection of the largest elements, exactly and without a sort.

The bits of a magnitude, read as an integer, are ordered like the magnitude. So the
smallest magnitude that is kept is found bit by bit: 31 counts, and no sort. The maxima
of runs of 16 first tell which runs may hold one of the k largest. There are at most k
such runs, so that few elements remain to be counted. Ties keep the lower index. It
takes half the time of `lax.top_k` or less.
"""

import jax
import jax.numpy as jnp

from jaxdist.compression.numerics import _sparse

_RUN = 16  # elements of a run; its maximum decides whether they are looked at


def largest_elements(chunks: jax.Array, kept: int) -> jax.Array:
    """Return where the elements largest in magnitude stand along the last axis.

    Args:
      chunks: ``[..., length]``, floating. Ties keep the lower index; NaN counts as the
        largest.
      kept: How many, at most the length.

    Returns:
      int32 indices ``[..., kept]``, ascending.
    """
    length = chunks.shape[-1]
    width = jnp.finfo(chunks.dtype).bits
    # Bits from here on: arithmetic may flush what is denormal to zero.
    infinity, bits = (
        jax.lax.bitcast_convert_type(values, jnp.dtype(f"uint{width}"))
        for values in (jnp.asarray(jnp.inf, chunks.dtype), chunks)
    )

    def ranks(bits):
        magnitudes = bits & jnp.asarray(2 ** (width - 1) - 1, bits.dtype)
        return jnp.minimum(magnitudes, infinity + 1)

    if 2 * kept * _RUN > length:
        return _largest_in_row(ranks(bits), kept)
    padding = [(0, 0)] * (chunks.ndim - 1) + [(0, -length % _RUN)]
    runs = jnp.pad(bits, padding).reshape(*chunks.shape[:-1], -1, _RUN)
    # A run that holds one of the largest has its own largest among them.
    chosen = _largest_in_row(jnp.max(ranks(runs), axis=-1), kept)
    # Ranks are made twice rather than stored: to fill a fresh array as large as the
    # leaf costs a CPU more than to compute what it is filled with.
    candidates = jnp.take_along_axis(runs, chosen[..., None], axis=-2, mode="clip")
    place = _largest_in_row(ranks(candidates.reshape(*chunks.shape[:-1], -1)), kept)
    return _sparse.gather_elements(chosen, place // _RUN) * _RUN + place % _RUN


def _largest_in_row(ranks, kept):
    """Return the ascending places of the ``kept`` largest along the last axis."""
    least = _least_kept(ranks, kept)[..., None]
    above, equal = _running_counts(ranks > least, ranks == least)
    # Of equal ones the first fill the room that is left.
    counts = above + jnp.minimum(equal, kept - above[..., -1:])
    return _sparse.search_sorted(counts, jnp.arange(1, kept + 1, dtype=jnp.int32))


def _running_counts(*masks):
    """Return how many of two masks are true so far, along the last axis."""
    first, second = (mask.astype(jnp.uint32) for mask in masks)
    if first.shape[-1] >= 2**16:
        return [jnp.cumsum(mask, axis=-1, dtype=jnp.int32) for mask in masks]
    # Scans take most of the time: one scan counts both, in the halves of a word.
    both = jnp.cumsum(first | (second << 16), axis=-1)
    return [half.astype(jnp.int32) for half in (both & 0xFFFF, both >> 16)]


def _least_kept(ranks, kept):
    """Return the largest number that at least ``kept`` elements reach, ``[...]``."""
    width = 8 * ranks.dtype.itemsize

    def set_bit(i, least):
        higher = least | (jnp.ones_like(least) << (width - 2 - i).astype(least.dtype))
        reached = jnp.packbits(ranks >= higher[..., None], axis=-1)
        count = jnp.sum(jax.lax.population_count(reached), axis=-1, dtype=jnp.int32)
        return jnp.where(count >= kept, higher, least)

    return jax.lax.fori_loop(0, width - 1, set_bit, jnp.zeros_like(ranks[..., 0]))
