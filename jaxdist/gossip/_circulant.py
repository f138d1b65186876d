"""Circulant: every worker hears those some places before it and behind it."""

from jaxdist import _checks
from jaxdist.gossip import _phase, _topology


def circulant(*offsets: int) -> _topology.Topology:
    r"""Let each worker hear those that are some places before it and behind it.

    .. math:: w_{ij} = \frac{1}{d + 1} \quad \text{where} \quad
       i - j \equiv \pm o \pmod W \text{ for an offset } o

    for :math:`d` neighbours. All workers have equally many, so that a rule knows as
    much everywhere.

    Args:
      *offsets: Places along the ring, each at least 1.

    Returns:
      A symmetric topology for each number of workers that the offsets connect, which is
      when they and W have no common divisor.

    Raises:
      ValueError: If there are no offsets, or one is no integer of at least 1.

    Communication:
      Two messages for each offset, per worker and step.

    Example:
      >>> topology = jaxdist.gossip.circulant(1, 2, 3, 4)
      >>> print(topology.degree(20), round(topology.spectral_gap(20), 3))
      8 0.298
    """
    if not offsets:
        raise ValueError("`offsets` must be one integer or more, got none.")
    places = tuple(_checks.integer("offsets", offset, 1) for offset in offsets)
    return circulant_topology(f"circulant({', '.join(map(str, places))})", places)


def circulant_topology(name: str, offsets: tuple[int, ...]) -> _topology.Topology:
    """Return the topology of so many places in both directions."""
    shifts = [*offsets, *(-offset for offset in offsets)]

    def make(num_workers):
        return [_phase.phase_of_shifts(num_workers, shifts)]

    return _topology.Topology(name, make)
