"""Random-k: the same random coordinates on all workers, so no index travels."""

import math

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree, _types


def random_k(density: float) -> _types.Compressor:
    r"""Keep a random share of the elements, scaled up to be unbiased.

    .. math:: C(x)_i = \frac{d}{k}\,x_i \text{ if } i \in S, \text{ else } 0, \qquad
       k = \lceil \text{density} \cdot d \rceil

    The elements are cut into :math:`k` runs that are as equal as possible, and
    :math:`S` takes one of each, uniformly. All workers draw the same :math:`S` from
    the common key, anew at every step; where runs differ in length, each element is
    scaled by the length of its own run.

    Args:
      density: Kept share of the elements in (0, 1], no unit; at least one is kept.

    Returns:
      An unbiased, linear compressor without state, with
      :math:`\omega = \lceil d/k \rceil - 1`. On the scatter route the same coordinates
      are drawn for the part of every worker.

    Raises:
      ValueError: If ``density`` is outside (0, 1].

    Communication:
      Payload of :math:`k` elements in the dtype of the leaf.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.random_k(density=0.5), jnp.ones(4), jax.random.key(0)
      ... )
      >>> print(sent.sum())
      4.0

    References:
      Wangni et al., `Gradient Sparsification for Communication-Efficient Distributed
      Optimization <https://arxiv.org/abs/1710.09854>`_, 2018, uniform sampling.
      Stratified here: the same first two moments, and no sort of :math:`d` numbers.
    """
    _checks.real("density", density, 0.0, 1.0, above=True)

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks)
        indices, _ = _draw(keys.common, rows.shape[1], density)
        return rows[:, indices], state

    def accumulate(total, payload, keys):
        rows = _tree.to_blocks(total, payload.shape[0])
        indices, lengths = _draw(keys.common, rows.shape[1], density)
        scaled = payload.astype(rows.dtype) * lengths[None].astype(rows.dtype)
        rows = rows.at[:, indices].add(scaled, unique_indices=True)
        return _tree.from_blocks(rows, total)

    def decode(payload, like, keys):
        zeros = jnp.zeros_like(payload, shape=like.shape, dtype=like.dtype)
        return accumulate(zeros, payload, keys)

    def variance(size):
        return math.ceil(size / _tree.kept(density, size)) - 1.0

    contract = _types.Contract(
        unbiased=True, variance=variance, linear=True, stochastic=True
    )
    return _types.Compressor(
        lambda leaf: (), encode, decode, contract, f"random_k({density})", accumulate
    )


def _draw(key: jax.Array, size: int, density: float) -> tuple[jax.Array, jax.Array]:
    """Return one index from each of ``k`` runs, and the lengths of the runs."""
    kept = _tree.kept(density, size)
    short, longer = divmod(size, kept)
    run = jnp.arange(kept, dtype=jnp.int32)
    lengths = short + (run < longer).astype(jnp.int32)
    starts = run * short + jnp.minimum(run, longer)
    return starts + jax.random.randint(key, (kept,), 0, lengths), lengths
