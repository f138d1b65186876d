"""Complete: every worker hears all others."""

from jaxdist.gossip import _phase, _topology


def complete() -> _topology.Topology:
    r"""Let each worker hear all others: what it makes is their mean.

    .. math:: w_{ij} = 1/W

    Returns:
      A symmetric topology for any number of workers.

    Communication:
      :math:`W - 1` messages per worker and step, in one all-gather: W/2 times the bytes
      of an all-reduce. To average exactly, :func:`jaxdist.aggregate` sends less.

    Example:
      >>> topology = jaxdist.gossip.complete()
      >>> print(topology.degree(8), round(topology.spectral_gap(8), 3))
      7 1.0
    """

    def make(num_workers):
        return [_phase.phase_of_shifts(num_workers, range(num_workers))]

    return _topology.Topology("complete()", make)
