"""Threshold: send what is large enough, as far as there is room.

The message is an array of static size; the state says how much of it was used, and
counts what had no room. The largest element of a block always travels: this makes a
contraction, which error feedback accepts, and there is room for it anyway.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _selection, _sparse


class ThresholdState(NamedTuple):
    """State of :func:`threshold`."""

    sent: jax.Array  # int32, shape (); elements sent last; varies over workers
    overflow: jax.Array  # int32, shape (); those without room; varies over workers


def threshold(
    value: float | None = None,
    density: float | None = None,
    *,
    max_density: float,
    sampled: float = 0.01,
    block_size: int | None = 4096,
) -> _compressor.Compressor:
    r"""Keep the elements that reach a magnitude, and the largest of each block.

    .. math:: C(x)_i = x_i \text{ if } |x_i| \ge \theta \text{ or } i = \arg\max_j |x_j|
       \text{, else } 0

    The magnitude :math:`\theta` is given, or estimated as the magnitude that a share of
    a random sample reaches. Shapes are static: each block has room for ``max_density``
    of its elements, and the whole room travels. Where more elements reach the
    threshold, the largest are kept and the others are counted. For the same bytes
    ``top_k(max_density, block_size)`` drops less. A threshold is for studies of a
    transport of variable length.

    Args:
      value: :math:`\theta > 0`, in the unit of the leaf. Give either this or
        ``density``.
      density: Share of the elements that :math:`\theta` lets pass, in (0, 1], no unit;
        :math:`\theta` is this quantile of a sample of the leaf (or, on the scatter
        route, of the leaf's part for one worker).
      max_density: Share of the elements of each block for which there is room, in
        (0, 1], no unit; at least one.
      sampled: With ``density``, the share of the leaf that is sampled, in (0, 1], with
        replacement; at least one element.
      block_size: Elements that share their room; None is the whole leaf. A leaf is cut
        into equal blocks of at most this size.

    Returns:
      A biased compressor, a contraction with :math:`\delta = 1/d` in each block since
      its largest element always travels. No element is off by more than
      :math:`\theta` unless there is no room for it. Its state has the numbers of
      elements ``sent`` and of those without room, ``overflow``, in the last encoding.
      NaN counts as the largest.

    Raises:
      ValueError: If not exactly one of ``value`` and ``density`` is given, or if one
        of the arguments is out of its range.

    Communication:
      Payload of :math:`k = \lceil \text{max_density} \cdot d \rceil` elements in the
      dtype of the leaf and :math:`k` indices within the block: 8 bits each up to 256
      elements, 12 up to 4096, 16 up to 65 536, else 32.

    Example:
      >>> c = jaxdist.compression.threshold(1.0, max_density=0.5)
      >>> sent, state = jaxdist.roundtrip(c, jnp.array([3.0, 1.0, 0.5, -2.0]))
      >>> print(sent, state.sent, state.overflow)
      [ 3.  0.  0. -2.] 2 1

    References:
      Lin et al., `Deep Gradient Compression <https://arxiv.org/abs/1712.01887>`_, 2018,
      the sampled threshold. There as many are sent as pass.
    """
    if (value is None) == (density is None):
        raise ValueError(
            "Exactly one of `value` and `density` must be given, "
            f"got {value!r} and {density!r}."
        )
    if density is None:
        value = _checks.real("value", value, 0.0, above=True)
    else:
        density = _checks.real("density", density, 0.0, 1.0, above=True, static=True)
    max_density = _checks.real(
        "max_density", max_density, 0.0, 1.0, above=True, static=True
    )
    sampled = _checks.real("sampled", sampled, 0.0, 1.0, above=True, static=True)
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)

    def init(leaf):
        return ThresholdState(
            jnp.zeros_like(leaf, shape=(), dtype=jnp.int32),
            jnp.zeros_like(leaf, shape=(), dtype=jnp.int32),
        )

    def encode(leaf, state, keys, blocks):
        del state
        rows = _tree.to_blocks(leaf, blocks)
        least = (
            value
            if density is None
            else _magnitude_quantile(keys.own, rows, density, sampled)
        )
        least = jnp.broadcast_to(jnp.asarray(least, jnp.float32), (blocks,))
        chunks = _tree.to_chunks(rows, block_size)
        indices = _selection.largest_elements(
            chunks, _tree.kept_count(max_density, chunks.shape[-1])
        )
        values = _sparse.gather_elements(chunks, indices)
        passes = _reaches_level(values, least) | _is_largest(values)
        fits = jnp.sum(_reaches_level(values, least), dtype=jnp.int32)
        overflow = jnp.sum(_reaches_level(chunks, least), dtype=jnp.int32) - fits
        sent = jnp.where(passes, values, jnp.zeros_like(values))
        payload = _sparse.sparse_payload(sent, indices, chunks.shape[-1])
        return payload, ThresholdState(jnp.sum(passes, dtype=jnp.int32), overflow)

    def variance(size):
        return 1.0 - 1.0 / _tree.chunk_shape(size, block_size)[1]

    rule = f"{value}" if density is None else f"density={density}"
    return _compressor.Compressor(
        init,
        encode,
        _sparse.decode_sparse,
        _compressor.Contract(
            variance=variance,
            stochastic=density is not None,
            aligned=False,
            keeps_zeros=True,
        ),
        f"threshold({rule}, max_density={max_density}, block_size={block_size})",
        _sparse.accumulate_sparse,
    )


def _magnitude_quantile(key, rows, density, sampled):
    """Return the magnitude that a share of a sample of each row reaches."""
    size = rows.shape[1]
    count = _tree.kept_count(sampled, size)
    chosen = jax.random.randint(key, (count,), 0, size, jnp.int32)
    sample = jnp.abs(rows[:, chosen]).astype(jnp.float32)
    sample = jnp.where(jnp.isnan(sample), 0.0, sample)
    return jax.lax.top_k(sample, _tree.kept_count(density, count))[0][:, -1]


def _reaches_level(values, least):
    """Return whether elements that are not zero reach the magnitude; NaN does."""
    size = jnp.abs(values).astype(jnp.float32)
    return ~(size < least[:, None, None]) & (values != 0)


def _is_largest(values):
    """Mark the first of the largest, which is the largest of its chunk."""
    first = _selection.largest_elements(values, 1)
    place = jax.lax.broadcasted_iota(jnp.int32, values.shape, values.ndim - 1)
    return (place == first) & (values != 0)
