"""Identity: send the leaf as it is."""

from jaxdist import _leafwise, _types


def identity() -> _types.Compressor:
    r"""Send every element in the dtype of the leaf.

    .. math:: C(x) = x

    Returns:
      A linear, lossless compressor without state; the leaf comes back bit for bit.

    Communication:
      Payload of :math:`d` elements in the dtype of the leaf.

    Example:
      >>> sent, _ = jaxdist.roundtrip(jaxdist.identity(), jnp.array([3.0, -1.0]))
      >>> print(sent)
      [ 3. -1.]
    """
    return _leafwise.DENSE
