"""Ring: every worker hears the one before it and the one behind it."""

from jaxdist.gossip import _circulant, _topology


def ring() -> _topology.Topology:
    r"""Let each worker hear its two neighbours in a ring.

    .. math:: w_{i,i-1} = w_{ii} = w_{i,i+1} = \tfrac13, \qquad
       \rho = \tfrac13 (1 + 2 \cos (2 \pi / W))

    Returns:
      A symmetric topology for any number of workers. Two workers are one pair.

    Communication:
      2 messages per worker and step: uncompressed, the bytes of an all-reduce.

    Example:
      >>> print(jaxdist.gossip.ring().degree(8))
      2
    """
    return _circulant.circulant_topology("ring()", (1,))
