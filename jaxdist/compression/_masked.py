"""Masked: only the elements that a mask keeps, which all workers know; no indices.

The mask is known while the program is compiled: the number of kept elements is the
length of the message. Its places are constants of the program.

A leaf is not cut into blocks: a receiver of one block would have to be told which part
of the mask it has. Rules that need rows gather them, which for a sparse mask sends less
than the dense way back of the route scatter.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdist import _masks
from jaxdist.compression import _compressor, _per_leaf


def masked(mask: Any) -> _compressor.LeafPolicy:
    r"""Send only the elements that a mask keeps, the same on all workers.

    .. math:: C(x)_i = x_i \text{ if } m_i \text{, else } 0

    What a mask keeps arrives as it was sent. All other elements are dropped for good:
    no later step sends them, and error feedback, which would collect them without
    bound, has no place here. For a network whose other weights stay at zero
    (:func:`jaxdist.keep_sparse`) nothing is lost.

    Args:
      mask: Tree of boolean arrays with the names and shapes of the leaves, such as
        :func:`jaxdist.sparsity.random_mask` returns, with True for what is sent. A leaf
        for which it has None travels as it is. Arrays of NumPy, or of JAX outside of
        ``jax.jit``.

    Returns:
      A policy, accepted wherever a transformation takes a compressor. The compressors
      of its leaves have no state and draw nothing. They are linear, so that all-reduces
      sum what they send, and aligned, so that coordinate-wise rules take it. They do
      not split: the route scatter, ``downlink`` and ``shard_optimizer`` refuse them.

    Raises:
      TypeError: If a leaf of ``mask`` is no array of bools, or is traced.
      ValueError: If ``mask`` holds no array; when a leaf is seen, if it has no mask or
        one of another shape. Masks of leaves that never come are allowed.

    Communication:
      Payload of :math:`k` elements in the dtype of the leaf, where its mask keeps
      :math:`k`. Each place takes 4 bytes of the program, and none of the message.

    Example:
      >>> mask = {"kernel": jnp.eye(2, dtype=bool), "bias": None}
      >>> tx = jaxdist.compress(jaxdist.compression.masked(mask))
      >>> updates = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> seen, _ = tx.update(updates, tx.init(updates))
      >>> print(seen["kernel"])
      [[1. 0.]
       [0. 1.]]

    References:
      Su et al., `Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot
      <https://arxiv.org/abs/2009.11094>`_, 2020, for masks that are known before
      training. That they need no indices on the wire is not from the paper.
    """
    masks = _masks.read_masks(mask)
    compressors = {name: _mask_leaf(leaf) for name, leaf in masks.items()}

    def select(path, leaf):
        _masks.find_mask(masks, path, leaf)
        return compressors[path]

    known = [leaf for leaf in masks.values() if leaf is not None]
    kept, size = sum(map(np.sum, known)), sum(map(np.size, known))
    name = f"masked({kept / max(1, size):.3g})"
    return _compressor.LeafPolicy(select, name, stochastic=False)


def _mask_leaf(mask: np.ndarray | None) -> _compressor.Compressor:
    """Return the compressor of one leaf, which may be kept whole."""
    return _per_leaf.DENSE if mask is None or mask.all() else _keep_places(mask)


def _keep_places(mask: np.ndarray) -> _compressor.Compressor:
    """Return the compressor of leaves with this mask, of which it drops some."""
    places = np.flatnonzero(mask).astype(np.int32)

    def encode(leaf, state, keys, blocks):
        del keys, blocks  # always one: the contract does not promise to split
        return leaf.reshape(-1)[places][None], state

    def accumulate(total, payload, keys, share=1.0):
        del keys
        flat, values = total.reshape(-1), payload[0].astype(total.dtype)
        at_places = flat.at[places]
        summed = at_places.add(
            values * share, indices_are_sorted=True, unique_indices=True
        )
        return summed.reshape(total.shape)

    def decode(payload, like, keys):
        zeros = jnp.zeros_like(payload, shape=like.shape, dtype=like.dtype)
        return accumulate(zeros, payload, keys)

    contract = _compressor.Contract(
        variance=lambda size: 1.0,  # all may lie outside of the mask
        linear=True,
        splittable=False,
        aligned=True,
        projection=True,
        keeps_zeros=True,
    )
    name = f"masked({len(places) / math.prod(mask.shape):.3g})"
    return _compressor.Compressor(
        lambda leaf: (), encode, decode, contract, name, accumulate
    )
