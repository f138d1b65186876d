"""Packing: codes of a few bits, or of three values, as whole bytes."""

import math

import jax
import jax.numpy as jnp

_TRITS = 5  # in a byte: 3^5 = 243


def pack_bits(codes: jax.Array, bits: int) -> jax.Array:
    """Pack ``uint8 [blocks, size]`` below ``2**bits`` into ``uint8 [blocks, n]``.

    Each binary digit of ``bits`` packs its part: codes of 7 bits travel as 4 + 2 + 1,
    each in ``ceil(size * part / 8)`` bytes.
    """
    packed, start = [], 0
    for part in _bit_parts(bits):
        digits = (codes >> start) & (2**part - 1)
        packed.append(_pack_digits(digits, 2**part, 8 // part))
        start += part
    return jnp.concatenate(packed, axis=-1)


def unpack_bits(packed: jax.Array, bits: int, size: int) -> jax.Array:
    """Invert :func:`pack_bits`."""
    codes, start, first = jnp.zeros((), jnp.uint8), 0, 0
    for part in _bit_parts(bits):
        stop = first + math.ceil(size * part / 8)
        digits = _unpack_digits(packed[:, first:stop], 2**part, 8 // part, size)
        codes = codes | (digits << start)
        start, first = start + part, stop
    return codes


def pack_trits(codes: jax.Array) -> jax.Array:
    """Pack ``uint8 [blocks, size]`` below 3 into ``uint8 [blocks, ceil(size / 5)]``."""
    return _pack_digits(codes, 3, _TRITS)


def unpack_trits(packed: jax.Array, size: int) -> jax.Array:
    """Invert :func:`pack_trits`."""
    return _unpack_digits(packed, 3, _TRITS, size)


def _bit_parts(bits: int) -> list[int]:
    """Return the powers of two that sum to ``bits``, the largest first."""
    return [part for part in (8, 4, 2, 1) if bits & part]


def _pack_digits(digits: jax.Array, base: int, per_byte: int) -> jax.Array:
    """Put digits into bytes: digit k of a byte comes from the k-th run of the row.

    Runs are contiguous, so that all bytes of a row are made by the same few operations
    on long arrays.
    """
    blocks, size = digits.shape
    run = math.ceil(size / per_byte)
    padded = jnp.pad(digits, ((0, 0), (0, per_byte * run - size)))
    runs = jnp.split(padded, per_byte, axis=-1)
    return sum(
        (digit * jnp.uint8(base**k) for k, digit in enumerate(runs)),
        start=jnp.zeros((blocks, run), jnp.uint8),
    )


def _unpack_digits(packed: jax.Array, base: int, per_byte: int, size: int):
    """Invert :func:`_pack_digits`."""
    digits = [packed // base**k % base for k in range(per_byte - 1)]
    last = packed // base ** (per_byte - 1)
    return jnp.concatenate([*digits, last], axis=-1)[:, :size]
