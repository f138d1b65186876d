"""Identity: send the leaf as it is."""

from jaxdist.compression import _compressor, _per_leaf


def identity(memory_of: _compressor.Compressor | None = None) -> _compressor.Compressor:
    r"""Send every element in the dtype of the leaf.

    .. math:: C(x) = x

    Args:
      memory_of: A compressor that takes over at a later step, see :func:`by_step`: its
        state is made at the start and kept for it, as :func:`power_sgd` needs.

    Returns:
      A linear, lossless compressor without state of its own; the leaf comes back bit
      for bit.

    Raises:
      TypeError: If ``memory_of`` is no compressor.

    Communication:
      Payload of :math:`d` elements in the dtype of the leaf.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.identity(), jnp.array([3.0, -1.0])
      ... )
      >>> print(sent)
      [ 3. -1.]
    """
    if memory_of is None:
        return _per_leaf.DENSE
    _per_leaf.check_compressor("memory_of", memory_of)
    name = f"identity(memory_of={memory_of.name})"
    return _per_leaf.DENSE._replace(init=memory_of.init, name=name)
