"""Levels: elements rounded at random to equal steps of a norm."""

import math

import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.compression.numerics import _scaling, _stochastic


def to_levels(rows, block_size, levels, norm_of, key):
    """Round ``[blocks, size]`` at random to codes in [0, 2 levels], and their norms."""
    chunks = _tree.to_chunks(rows, block_size)
    norms = norm_of(chunks)
    scaled = _scaling.shares_of(chunks, norms) * levels
    rounded = _stochastic.to_integers(scaled, key)
    # A norm that was rounded down would lead beyond the last level; NaN must not fall
    # outside the codes either, or it could spoil the neighbours in its byte.
    codes = jnp.where(rounded > -levels, jnp.minimum(rounded, levels), -levels) + levels
    return _tree.from_chunks(codes.astype(jnp.uint8), rows.shape[1]), norms


def from_levels(codes, norms, block_size, levels):
    """Return the values ``[blocks, size]`` that the codes stand for."""
    signed = _tree.to_chunks(codes, block_size).astype(jnp.float32) - levels
    # The norm over the levels could be too small for float32, or round up.
    values = _scaling.from_shares(signed / levels, norms)
    return _tree.from_chunks(values, codes.shape[1])


def max_variance(size: int, levels: int) -> float:
    """Return the largest sum of f(1 - f) / sum of u_i^2 when one u is s.

    That one is exact. The others are worst when equal, at most 1/2, where f = u: the
    ratio (d - 1) u (1 - u) / (s^2 + (d - 1) u^2) is w where the largest value of
    (d - 1) (u - (1 + w) u^2) = (d - 1) / (4 (1 + w)) is w s^2, that is w^2 + w =
    (d - 1) / (4 s^2).
    """
    return (math.sqrt(1 + (size - 1) / levels**2) - 1) / 2


def l2_variance(size: int, levels: int) -> float:
    """Return the largest sum of f(1 - f) / s^2 when the u_i^2 sum to s^2.

    With f the fractional part, f(1 - f) is at most sqrt(t) - t for t = u^2 <= 1/4 and
    at most 1/4 beyond. This hull is concave in t, so equal t = s^2 / d are the worst.
    """
    if size < 4 * levels**2:
        return size / (4 * levels**2)
    return math.sqrt(size) / levels - 1
