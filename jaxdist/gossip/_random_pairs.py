"""Random pairs: every worker meets one other, drawn in each step."""

import jax
import numpy as np

from jaxdist import _random
from jaxdist.gossip import _phase, _topology


def random_pairs(key: int | jax.Array = 0) -> _topology.Topology:
    r"""Let workers meet in pairs that all of them draw alike in each step.

    .. math:: x_i \leftarrow \tfrac12 (x_i + x_{p(i)})

    The permutations of a compiled program are fixed. So one of the rounds of a
    tournament is drawn, in which each worker meets each other once: every partner has
    the same probability, though the pairs of a step depend on each other. Of an odd
    number one worker stays alone.

    Args:
      key: Seed or key, the same on all workers.

    Returns:
      A symmetric topology of :math:`W - 1` phases, one of which is drawn.

    Communication:
      1 message per worker and step: half the bytes of an all-reduce. On a mesh the
      program holds all phases and runs one, which takes long to compile for hundreds
      of workers.

    Example:
      >>> topology = jaxdist.gossip.random_pairs(key=1)
      >>> print(topology.degree(8), len(topology.phases(8)))
      1 7
    """
    _random.check_key(key)
    words = np.asarray(jax.random.key_data(_random.as_key(key)))
    shown = key if isinstance(key, int) else "..."

    def make(num_workers):
        return [_phase.phase_of_pairs(num_workers, x) for x in rounds(num_workers)]

    return _topology.Topology(f"random_pairs({shown})", make, key=words)


def rounds(num_workers: int) -> list[list[tuple[int, int]]]:
    """Return the rounds of a tournament: in one of them each pair of workers meets."""
    size = num_workers + num_workers % 2
    if size < 2:
        return [[]]
    last = size - 1  # stays; all others walk around a circle
    tournament = []
    for shift in range(last):
        pairs = [(shift, last)]
        for k in range(1, size // 2):
            pairs.append(((shift + k) % last, (shift - k) % last))
        tournament.append([x for x in pairs if max(x) < num_workers])
    return tournament
