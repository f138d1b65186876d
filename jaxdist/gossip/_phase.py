"""Phases: who hears whom in a step, as moves in which each worker sends to one other.

What a mesh can do is to send from each worker to one other at a time, so a graph is cut
into permutations. Seen as lines from senders to receivers it has two sides, and then as
many permutations are enough as the largest number of neighbours (Kőnig). So no message
is sent that nobody hears, whatever the graph.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Phase(NamedTuple):
    """Who hears whom in a step, and what it gives to what it hears."""

    sources: np.ndarray  # int [moves, W], whom each worker hears; itself: nobody
    weights: np.ndarray  # float64 [moves, W]; 0 where it hears nobody
    own: np.ndarray  # float64 [W], what it keeps of its own

    @property
    def num_heard(self) -> np.ndarray:
        """How many neighbours each worker hears, int ``[W]``."""
        return np.sum(self.weights > 0, axis=0)

    @property
    def num_messages(self) -> float:
        """How many messages a worker sends, on average over the workers."""
        return float(np.mean(self.num_heard))

    @property
    def matrix(self) -> np.ndarray:
        """The mixing matrix, float64 ``[W, W]``; row i is what worker i makes."""
        workers = np.arange(self.own.size)
        matrix = np.diag(self.own)
        for sources, weights in zip(self.sources, self.weights, strict=True):
            matrix[workers, sources] += weights
        return matrix


def phase_of_shifts(num_workers: int, shifts: Iterable[int]) -> Phase:
    """Return the phase in which all hear workers so many places before them.

    All that are heard, and the worker itself, count alike.

    Args:
      num_workers: W.
      shifts: Numbers of places; those that lead to the same worker count once.
    """
    distinct = sorted({shift % num_workers for shift in shifts} - {0})
    workers = np.arange(num_workers)
    sources = [(workers - shift) % num_workers for shift in distinct]
    share = 1 / (len(distinct) + 1)
    shape = (len(distinct), num_workers)
    return Phase(
        np.array(sources, int).reshape(shape),
        np.full(shape, share),
        np.full(num_workers, share),
    )


def phase_of_pairs(num_workers: int, pairs: Iterable[tuple[int, int]]) -> Phase:
    """Return the phase in which pairs of workers meet half way; others are alone."""
    sources = np.arange(num_workers)
    for one, other in pairs:
        sources[one], sources[other] = other, one
    weights = np.where(sources == np.arange(num_workers), 0.0, 0.5)
    return Phase(sources[None], weights[None], 1 - weights)


def phase_of_matrix(matrix: np.ndarray) -> Phase:
    """Return the phase of a mixing matrix ``[W, W]`` of weights of at least 0."""
    num_workers = len(matrix)
    off_diagonal = np.where(np.eye(num_workers, dtype=bool), 0, matrix)
    receivers, senders = np.nonzero(off_diagonal)
    shifts, moves = np.unique((receivers - senders) % num_workers, return_inverse=True)
    num_moves = most_edges(senders, receivers, num_workers)
    if len(shifts) > num_moves:
        moves = color_edges(senders, receivers, num_workers)
    sources = np.tile(np.arange(num_workers), (num_moves, 1))
    weights = np.zeros((num_moves, num_workers))
    sources[moves, receivers] = senders
    weights[moves, receivers] = off_diagonal[receivers, senders]
    return Phase(sources, weights, np.diag(matrix).astype(float))


def most_edges(senders: np.ndarray, receivers: np.ndarray, num_workers: int) -> int:
    """Return the most edges that leave, or reach, one worker."""
    if not len(senders):
        return 0
    ends = [np.bincount(ends, minlength=num_workers) for ends in (senders, receivers)]
    return int(np.max(ends))


def color_edges(
    senders: np.ndarray, receivers: np.ndarray, num_workers: int
) -> np.ndarray:
    """Return a colour for each edge, as few as there can be.

    Edges that leave one worker, or reach one, have different colours.
    """
    num_colors = most_edges(senders, receivers, num_workers)
    leaves = np.full((num_workers, num_colors), -1)  # the edge of each colour
    reaches = np.full((num_workers, num_colors), -1)
    colors = np.full(len(senders), -1)
    for edge, (sender, receiver) in enumerate(zip(senders, receivers, strict=True)):
        color = int(np.argmin(leaves[sender] >= 0))
        other = int(np.argmin(reaches[receiver] >= 0))
        path = _alternating_path(
            *(leaves, reaches, senders, receivers), receiver, color, other
        )
        for step in path:  # after this the receiver has no edge of the colour either
            leaves[senders[step], colors[step]] = -1
            reaches[receivers[step], colors[step]] = -1
        for step in [*path, edge]:
            colors[step] = color if step == edge or colors[step] == other else other
            leaves[senders[step], colors[step]] = step
            reaches[receivers[step], colors[step]] = step
    return colors


def _alternating_path(leaves, reaches, senders, receivers, receiver, color, other):
    """Return the edges of two colours in turn, from a receiver on."""
    path = []
    while color != other:
        edge = reaches[receiver, color]
        if edge < 0:
            break
        path.append(edge)
        edge = leaves[senders[edge], other]
        if edge < 0:
            break
        path.append(edge)
        receiver = receivers[edge]
    return path


def unreached(phases: Sequence[Phase]) -> tuple[int, int] | None:
    """Return two workers the first of which never hears from the second, or None."""
    heard_by = np.zeros((phases[0].own.size,) * 2, bool)  # [receiver, sender]
    receivers = np.arange(len(heard_by))
    for phase in phases:
        for sources in phase.sources:
            heard_by[receivers, sources] = True
    for table, is_back in ((heard_by, False), (heard_by.T, True)):
        known = np.arange(len(table)) == 0
        while np.any(more := np.any(table[:, known], axis=1) & ~known):
            known |= more
        if not known.all():
            other = int(np.argmin(known))
            return (0, other) if is_back else (other, 0)
    return None
