"""Round trip: encode and decode one leaf, and count the bytes."""

from typing import Any

import jax

from jaxdist import _checks, _random, _tree
from jaxdist.compression import _compressor, _per_leaf


def roundtrip(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    key: int | jax.Array | None = None,
    state: _compressor.CompressorState | None = None,
    *,
    blocks: int = 1,
) -> tuple[jax.Array, _compressor.CompressorState]:
    """Encode a leaf and decode it again.

    Args:
      compressor: The compressor.
      leaf: An array of any shape.
      key: Seed or key; may be left out when the compressor is not stochastic.
      state: The compressor's state; None starts with ``compressor.init(leaf)``.
      blocks: Into how many parts the leaf is cut, each encoded alone.

    Returns:
      What the receivers see, with the shape and dtype of ``leaf``, and the new state.

    Raises:
      ValueError: If a stochastic compressor gets no key.
      TypeError: If ``compressor`` is none, or ``leaf`` no array.

    Communication:
      None.

    Example:
      >>> compressor = jaxdist.compression.top_k(0.5)
      >>> sent, state = jaxdist.roundtrip(compressor, jnp.array([1.0, -2.0]))
      >>> print(sent)
      [ 0. -2.]
    """
    _per_leaf.check_compressor("compressor", compressor)
    blocks = _checks.integer("blocks", blocks, 1)
    if key is None and compressor.contract.stochastic:
        raise ValueError(f"`key` must be given: {compressor.name} draws at random.")
    leaf = _checks.array("leaf", leaf)
    compressor = _per_leaf.select_compressor(compressor, "", leaf)
    _per_leaf.check_dtype(compressor, "leaf", "", leaf)
    key = _random.as_key(0 if key is None else key)
    keys = _random.keys_of(key, 0, compressor.contract.stochastic)
    state = compressor.init(leaf) if state is None else state
    payload, state = compressor.encode(leaf, state, keys, blocks)
    return compressor.decode(payload, _tree.like_leaf(leaf), keys), state


def payload_nbytes(
    compressor: _compressor.Compressor, leaf: Any, blocks: int = 1
) -> int:
    """Return the bytes that travel when one worker sends the leaf once.

    Args:
      compressor: The compressor.
      leaf: An array, or its shape and dtype.
      blocks: Into how many parts the leaf is cut: 1, or W for the scatter route.

    Returns:
      The bytes of the payload over all blocks, from shapes alone; nothing is computed.

    Raises:
      ValueError: If ``blocks`` is below 1.
      TypeError: If ``compressor`` is none, or ``leaf`` no array.

    Example:
      >>> jaxdist.payload_nbytes(jaxdist.compression.scaled_sign(), jnp.zeros(1000))
      129
    """
    _per_leaf.check_compressor("compressor", compressor)
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        leaf = _checks.array("leaf", leaf)
    blocks = _checks.integer("blocks", blocks, 1)
    compressor = _per_leaf.select_compressor(compressor, "", leaf)
    return _per_leaf.payload_nbytes(compressor, leaf, blocks)
