"""Random-k: random coordinates that every receiver draws too; no index travels.

One coordinate is drawn from each of k equal runs. Every coordinate is kept with
probability k/d, as by a uniform k-subset, so bias and variance are the same. No
permutation of d numbers has to be sorted.
"""

import math

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _scaling


def random_k(density: float, shared: bool = True) -> _compressor.Compressor:
    r"""Keep a random share of the elements, scaled up to be unbiased.

    .. math:: C(x)_i = \frac{d}{k}\,x_i \text{ if } i \in S, \text{ else } 0, \qquad
       k = \lceil \text{density} \cdot d \rceil

    The elements are cut into :math:`k` runs that are as equal as possible, and
    :math:`S` takes one element of each run, uniformly, and draws again at every step.
    Where runs differ in length, each element is scaled by the length of its own run.

    Args:
      density: Kept share of the elements in (0, 1], no unit; at least one is kept.
      shared: Whether all workers draw the same :math:`S`, so that what they send can be
        summed while it travels. Otherwise each draws its own, and the errors
        of the workers average out.

    Returns:
      An unbiased compressor without state, with
      :math:`\omega = \lceil d/k \rceil - 1`; linear if ``shared``. On the
      scatter route the same coordinates are drawn for the part of every worker. What
      would overflow when it is scaled becomes the largest number.

    Raises:
      ValueError: If ``density`` is outside (0, 1] or ``shared`` is no bool.

    Communication:
      Payload of :math:`k` elements in the dtype of the leaf.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.random_k(density=0.5), jnp.ones(4), jax.random.key(0)
      ... )
      >>> print(sent.sum())
      4.0

    References:
      Wangni et al., `Gradient Sparsification for Communication-Efficient Distributed
      Optimization <https://arxiv.org/abs/1710.09854>`_, 2018, uniform sampling.
      Stratified here: the same first two moments, and no sort of :math:`d` numbers.
    """
    density = _checks.real("density", density, 0.0, 1.0, above=True, static=True)
    _checks.flag("shared", shared)

    def draw(keys, size):
        return _draw_indices(keys.common if shared else keys.own, size, density)

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks)
        indices, lengths = draw(keys, rows.shape[1])
        longest = _longest_run(rows.shape[1], density)
        if rows.shape[1] == longest * indices.size:
            return rows[:, indices], state
        # Relative, so that all are scaled by the same number when they are decoded.
        relative = (lengths / longest).astype(rows.dtype)
        return rows[:, indices] * relative[None], state

    def accumulate(total, payload, keys, share=1.0):
        rows = _tree.to_blocks(total, payload.shape[0])
        indices, _ = draw(keys, rows.shape[1])
        longest = _longest_run(rows.shape[1], density)
        scaled = _scaling.scaled_by(payload.astype(rows.dtype), longest)
        rows = rows.at[:, indices].add(scaled * share, unique_indices=True)
        return _tree.from_blocks(rows, total)

    def decode(payload, like, keys):
        zeros = jnp.zeros_like(payload, shape=like.shape, dtype=like.dtype)
        return accumulate(zeros, payload, keys)

    def variance(size):
        return _longest_run(size, density) - 1.0

    contract = _compressor.Contract(
        unbiased=True,
        variance=variance,
        linear=shared,
        stochastic=True,
        aligned=shared,
        keeps_zeros=True,
    )
    name = f"random_k({density})" if shared else f"random_k({density}, shared=False)"
    return _compressor.Compressor(
        lambda leaf: (), encode, decode, contract, name, accumulate
    )


def _longest_run(size: int, density: float) -> int:
    """Return the length of the longest run."""
    return math.ceil(size / _tree.kept_count(density, size))


def _draw_indices(
    key: jax.Array, size: int, density: float
) -> tuple[jax.Array, jax.Array]:
    """Return one index from each of ``k`` runs, and the lengths of the runs."""
    kept = _tree.kept_count(density, size)
    short, longer = divmod(size, kept)
    run = jnp.arange(kept, dtype=jnp.int32)
    lengths = short + (run < longer).astype(jnp.int32)
    starts = run * short + jnp.minimum(run, longer)
    return starts + jax.random.randint(key, (kept,), 0, lengths, jnp.int32), lengths
