"""Exponential: every worker hears those 1, 2, 4, 8, ... places before it."""

from jaxdist.gossip import _phase, _topology


def exponential() -> _topology.Topology:
    r"""Let each worker hear those that are 1, 2, 4, 8, ... places before it.

    .. math:: w_{ij} = \frac{1}{\tau + 1} \quad \text{where} \quad
       i - j \equiv 2^k \pmod W, \quad 0 \le k < \tau = \lceil \log_2 W \rceil

    Returns:
      A directed topology for any number of workers; the mean over them stays.

    Communication:
      :math:`\lceil \log_2 W \rceil` messages per worker and step.

    Example:
      >>> topology = jaxdist.gossip.exponential()
      >>> print(topology.degree(16), round(topology.spectral_gap(16), 3))
      4 0.4

    References:
      Ying et al., `Exponential Graph is Provably Efficient for Decentralized Deep
      Training <https://arxiv.org/abs/2110.13363>`_, 2021, Equation 5.
    """

    def make(num_workers):
        shifts = [2**k for k in range(num_powers(num_workers))]
        return [_phase.phase_of_shifts(num_workers, shifts)]

    return _topology.Topology("exponential()", make, symmetric=False)


def num_powers(num_workers: int) -> int:
    """Return how many powers of two lie below the number of workers."""
    return (num_workers - 1).bit_length()
