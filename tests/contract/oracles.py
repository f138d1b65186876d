"""Rules restated from their papers in NumPy and float64: slow, plain, and ours alone.

Every function maps rows ``[W, d]`` to ``[d]``; rows are finite and without ties.
"""

import numpy as np


def squared_distances(rows):
    """Return ``[W, W]``."""
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)


def mean(rows):
    return rows.mean(axis=0)


def median(rows):
    return np.median(rows, axis=0)


def trimmed_mean(num_byzantine):
    def rule(rows):
        kept = np.sort(rows, axis=0)[num_byzantine : len(rows) - num_byzantine]
        return kept.mean(axis=0)

    return rule


def krum(num_byzantine):
    def rule(rows):
        distances = squared_distances(rows)
        num_neighbours = len(rows) - num_byzantine - 2
        scores = [
            np.sort(np.delete(distances[i], i))[:num_neighbours].sum()
            for i in range(len(rows))
        ]
        return rows[np.argmin(scores)]

    return rule


def nnm(num_byzantine, then):
    def rule(rows):
        nearest = np.argsort(squared_distances(rows), axis=1)
        return then(rows[nearest[:, : len(rows) - num_byzantine]].mean(axis=1))

    return rule
