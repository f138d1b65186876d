"""Star: worker 0 hears all others, and they hear it alone."""

import numpy as np

from jaxdist.gossip import _metropolis, _phase, _topology


def star() -> _topology.Topology:
    r"""Let worker 0 hear all others, and let them hear it alone.

    .. math:: w_{0i} = w_{i0} = w_{00} = 1/W, \qquad w_{ii} = 1 - 1/W

    Returns:
      A symmetric topology for any number of workers. All but worker 0 have a single
      neighbour, which no robust rule can judge.

    Communication:
      Worker 0 sends :math:`W - 1` messages per step, the others 1; reports say the
      mean, :math:`2 (W - 1) / W`. They travel one after the other, since a worker sends
      to one other at a time; a program for hundreds of workers takes long to compile.

    Example:
      >>> topology = jaxdist.gossip.star()
      >>> print(topology.degree(8), round(topology.spectral_gap(8), 3))
      7 0.125
    """

    def make(num_workers):
        connected = np.zeros((num_workers, num_workers), bool)
        connected[0, 1:] = connected[1:, 0] = True
        return [_phase.phase_of_matrix(_metropolis.metropolis_weights(connected))]

    return _topology.Topology("star()", make)
