"""Top-k: send the largest elements and where they stand."""

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _selection, _sparse


def top_k(density: float, block_size: int | None = None) -> _compressor.Compressor:
    r"""Keep the ``density`` share of the elements that is largest in magnitude.

    .. math:: C(x)_i = x_i \text{ if } |x_i| \text{ is among the } k \text{ largest,
       else } 0, \qquad k = \lceil \text{density} \cdot d \rceil

    Args:
      density: Kept share of the elements in (0, 1], no unit; at least one is kept.
      block_size: Elements among which the largest are found; None is the whole leaf
        (or, on the scatter route, the leaf's part for one worker). Blocks of 4096 need
        12 bits per index instead of 32. A leaf is cut into equal blocks of at most
        this size.

    Returns:
      A biased compressor without state, a contraction with :math:`\delta = k/d` in
      each block. Ties keep the lower index; NaN counts as the largest.

    Raises:
      ValueError: If ``density`` is outside (0, 1] or ``block_size`` is below 1.

    Communication:
      Payload of :math:`k` elements in the dtype of the leaf and :math:`k` indices
      within the block: 8 bits each up to 256 elements, 12 up to 4096, 16 up to 65 536,
      else 32.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.top_k(0.5), jnp.array([3.0, 1.0])
      ... )
      >>> print(sent)
      [3. 0.]

    References:
      Alistarh et al., `The Convergence of Sparsified Gradient Methods
      <https://arxiv.org/abs/1809.10505>`_, 2018. There k is counted over the whole
      gradient; here over each leaf or block.
    """
    density = _checks.real("density", density, 0.0, 1.0, above=True, static=True)
    if block_size is not None:
        block_size = _checks.integer("block_size", block_size, 1)

    def encode(leaf, state, keys, blocks):
        del keys
        chunks = _tree.to_chunks(_tree.to_blocks(leaf, blocks), block_size)
        length = chunks.shape[-1]
        indices = _selection.largest_elements(chunks, _tree.kept_count(density, length))
        values = _sparse.gather_elements(chunks, indices)
        return _sparse.sparse_payload(values, indices, length), state

    def variance(size):
        _, length = _tree.chunk_shape(size, block_size)
        return 1.0 - _tree.kept_count(density, length) / length

    name = (
        f"top_k({density})" if block_size is None else f"top_k({density}, {block_size})"
    )
    contract = _compressor.Contract(
        variance=variance, aligned=False, projection=True, keeps_zeros=True
    )
    return _compressor.Compressor(
        lambda leaf: (),
        encode,
        _sparse.decode_sparse,
        contract,
        name,
        _sparse.accumulate_sparse,
    )
