"""One-peer exponential: every worker hears one other, twice as far in each step."""

from jaxdist.gossip import _exponential, _phase, _topology


def one_peer_exponential() -> _topology.Topology:
    r"""Let each worker hear one other: 1, 2, 4, 8, ... places before it, step by step.

    .. math:: x_i \leftarrow \tfrac12 (x_i + x_{i - 2^{t \bmod \tau}}), \qquad
       \tau = \lceil \log_2 W \rceil

    With a power of two of workers, :math:`\tau` steps are exactly the mean of all. With
    others it is close: of 12 workers none counts more than 0.125 in place of 1/12.

    Returns:
      A directed topology of :math:`\tau` phases, for any number of workers; the mean
      over them stays.

    Communication:
      1 message per worker and step: half the bytes of an all-reduce. The program holds
      all :math:`\tau` phases, and runs one.

    Example:
      >>> topology = jaxdist.gossip.one_peer_exponential()
      >>> print(topology.degree(16), topology.spectral_gap(16))
      1 1.0

    References:
      Assran et al., `Stochastic Gradient Push for Distributed Deep Learning
      <https://arxiv.org/abs/1811.10792>`_, 2019, Appendix A; Ying et al., `Exponential
      Graph is Provably Efficient for Decentralized Deep Training
      <https://arxiv.org/abs/2110.13363>`_, 2021, Lemma 1.
    """

    def make(num_workers):
        powers = range(max(_exponential.num_powers(num_workers), 1))
        return [_phase.phase_of_shifts(num_workers, [2**k]) for k in powers]

    return _topology.Topology("one_peer_exponential()", make, symmetric=False)
