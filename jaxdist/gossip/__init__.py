"""Gossip: workers that hear only their neighbours, and never meet all at once."""

from jaxdist.gossip._circulant import circulant as circulant
from jaxdist.gossip._complete import complete as complete
from jaxdist.gossip._exponential import exponential as exponential
from jaxdist.gossip._graph import graph as graph
from jaxdist.gossip._metropolis import metropolis as metropolis
from jaxdist.gossip._one_peer_exponential import (
    one_peer_exponential as one_peer_exponential,
)
from jaxdist.gossip._phase import Phase as Phase
from jaxdist.gossip._random_pairs import random_pairs as random_pairs
from jaxdist.gossip._ring import ring as ring
from jaxdist.gossip._star import star as star
from jaxdist.gossip._topology import Topology as Topology
from jaxdist.gossip._torus import torus as torus
